// A program for Kubernetes in JavaScript: says what it was given, and reads a number from its environment.
import { getArguments, getEnvironment } from 'wasi:cli/environment@0.2.12';

export const run = {
  run() {
    const environment = Object.fromEntries(getEnvironment());
    const upTo = Number(environment.UP_TO ?? 10);
    const sum = Array.from({ length: upTo }, (_, i) => i + 1).reduce((a, b) => a + b, 0);
    console.log(JSON.stringify({ arguments: getArguments().slice(1), sum }));
  },
};
