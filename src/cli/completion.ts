/** How the command is called, for the help. */
export const COMPLETION_USAGE = 'completion <shell>';
