// The functions of the host. `main.js` gets them from outside and puts them here.

export const host = {};
