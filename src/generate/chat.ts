import { ChatRenderer, refusedRendering } from '../corpus/chats/renderer.js';
import { chatTemplate } from '../corpus/chats/template.js';
import { Refusal } from '../errors/refusal.js';

/**
 * User messages rendered as a chat model is trained on them: by the model's template, up to where its answer begins.
 *
 * @param directory the model's
 * @throws Refusal if the model has no template, or it cannot be applied
 */
export async function chatTexts(directory: string, messages: readonly string[]): Promise<string[]> {
  const template = await chatTemplate(directory);
  if (!template) {
    throw new Refusal(
      `${directory} has no chat template: it is not a chat model, or a part of it is missing.`,
      'Omit --chat, or use the instruction-tuned model.',
      'generate/no-chat-template',
    );
  }
  const renderer = new ChatRenderer(directory, { template, today: true, prompt: true });
  try {
    const conversations = messages.map((content) => [{ role: 'user', content }]);
    const rendered = await renderer.render(conversations, 'the prompt');
    return rendered.map((one) => {
      if ('text' in one) return one.text;
      const { failed, reason } = one;
      if (failed !== 'template') throw refusedRendering(one, 'the prompt', directory);
      throw new Refusal(
        `The chat template of ${directory} could not be applied: ${reason.replace(/\.$/, '')}.`,
        'Write out the turn in --prompt, without --chat.',
        'generate/chat-template',
      );
    });
  } finally {
    await renderer.close();
  }
}
