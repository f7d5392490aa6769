import { el, refill } from './dom.js';

/**
 * The single tooltip: two short lines next to an element, shown on hover and by keyboard. Visual only; its contents are
 * also announced or in a label.
 */
class Tip {
  private readonly box = el('div', { class: 'tip', 'aria-hidden': 'true', hidden: true });
  private owner: Element | null = null;

  show(owner: Element, strong: string, plain = '', at: DOMRect = owner.getBoundingClientRect()): void {
    if (!this.box.isConnected) document.body.append(this.box);
    this.owner = owner;
    refill(this.box, el('b', {}, strong), plain === '' ? null : el('span', {}, plain));
    this.box.hidden = false;
    const { width, height } = this.box.getBoundingClientRect();
    const left = Math.min(innerWidth - width - 8, Math.max(8, at.left + at.width / 2 - width / 2));
    const above = at.top - height - 6;
    this.box.style.setProperty('left', `${Math.round(left)}px`);
    this.box.style.setProperty('top', `${Math.round(above > 4 ? above : at.bottom + 6)}px`);
  }

  /** @param owner hides it only if it belongs to this element; by default, always */
  hide(owner: Element | null = null): void {
    if (owner !== null && owner !== this.owner) return;
    this.box.hidden = true;
    this.owner = null;
  }
}

export const tip = new Tip();
