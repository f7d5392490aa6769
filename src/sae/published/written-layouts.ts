/** Layouts that SAEs can be written in (convert-to.ts): the choices of --as. */
export const writtenLayouts = ['saelens', 'gemma-scope', 'dictionary-learning', 'sparsify'] as const;
export type WrittenLayout = (typeof writtenLayouts)[number];
