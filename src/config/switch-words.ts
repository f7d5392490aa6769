/** The words without a switch, however it is written: --name, --no-name, --name=true, --name false. */
export function withoutSwitch(words: readonly string[], name: string): string[] {
  const spelled = new RegExp(`^--(no-)?${name}(=.*)?$`);
  return words.filter((word, i) => {
    const value = words[i - 1] === `--${name}` && /^(true|false)$/.test(word);
    return !value && !spelled.test(word);
  });
}
