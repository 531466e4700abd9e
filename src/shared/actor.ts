/** Who acts where nobody logs in: whoever sits at the machine, which is the only place this service answers. */
export const LOCAL_OPERATOR = 'local-operator';
