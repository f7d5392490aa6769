/** Contents of an element. Text stays text: nothing here parses HTML. */
export type Child = Node | string | number | null | false | undefined | readonly Child[];

/** Attributes, listeners (`onclick`) and CSS variables (`--share`) of an element; null and false omit one. */
export type Properties = Readonly<
  Record<string, string | number | boolean | null | undefined | ((event: never) => void)>
>;

const SVG = 'http://www.w3.org/2000/svg';

/** An HTML element. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  return filled(document.createElement(tag), properties, children);
}

/** An SVG element. */
export function svgElement<K extends keyof SVGElementTagNameMap>(
  tag: K,
  properties: Properties = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

/** Replaces the contents of an element. */
export function refill(element: Element, ...children: Child[]): void {
  element.replaceChildren(...nodesOf(children));
}

function filled<E extends HTMLElement | SVGElement>(element: E, properties: Properties, children: Child[]): E {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name.slice(2), value as EventListener);
    // The page's policy forbids style attributes; setting a variable is allowed.
    else if (name.startsWith('--')) element.style.setProperty(name, String(value));
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...nodesOf(children));
  return element;
}

function nodesOf(children: readonly Child[]): (Node | string)[] {
  return children.flatMap((child): (Node | string)[] => {
    if (child === null || child === undefined || child === false) return [];
    if (typeof child === 'number') return [String(child)];
    if (typeof child === 'string' || child instanceof Node) return [child];
    return nodesOf(child);
  });
}
