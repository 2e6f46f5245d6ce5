// A Gleitzeit provider in plain JavaScript: no SDK, no packages, Node 18 or newer. See README.md beside this file.
// A provider is a WebSocket server that answers JSON-RPC 2.0: `rpc.discover`, and its own methods.
import { randomUUID } from 'node:crypto';
import { serve } from './websocket.mjs';

const methods = {
  'text/slug': {
    description: 'A title as it may stand in a URL.',
    params: { title: { type: 'string' } },
    required: ['title'],
    run: ({ title }) => ({
      slug: title.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, ''),
    }),
  },
  'text/statistics': {
    description: 'Counts lines, words and characters.',
    params: { text: { type: 'string' } },
    required: ['text'],
    run: ({ text }) => ({
      lines: text.split('\n').length,
      words: text.split(/\s+/).filter(Boolean).length,
      characters: [...text].length,
    }),
  },
};

const instance = randomUUID(); // one start of this process
const discover = () => ({
  openrpc: '1.4.1',
  info: { title: 'text in JavaScript', version: '1.0.0' },
  methods: Object.entries(methods).map(([name, { description, params, required }]) => ({
    name,
    description,
    paramStructure: 'by-name',
    params: Object.entries(params).map(([key, schema]) => ({ name: key, schema, required: required.includes(key) })),
    result: { name: 'result', schema: { type: 'object' } },
    'x-params-schema': { type: 'object', properties: params, required, additionalProperties: false },
    'x-result-schema': { type: 'object' },
    'x-idempotent': true,
    'x-runs': 'provider',
  })),
  'x-gleitzeit': { name: 'text-js', instance, version: '1.0.0', capacity: 4, protocols: ['text/v1'] },
});

const failure = (id, code, message) => ({ jsonrpc: '2.0', id, error: { code, message } });

async function answer(message) {
  const { id, method, params } = message ?? {};
  if (message?.jsonrpc !== '2.0' || typeof method !== 'string') return failure(id ?? null, -32600, 'Invalid Request');
  if (id === undefined) return null; // a notification
  if (method === 'ping') return { jsonrpc: '2.0', id, result: {} };
  if (method === 'rpc.discover') return { jsonrpc: '2.0', id, result: discover() };
  if (!Object.hasOwn(methods, method)) return failure(id, -32601, 'Method not found');
  const { _meta, ...given } = params ?? {}; // _meta says which workflow, task and attempt: not needed here
  const missing = methods[method].required.filter((key) => typeof given[key] !== 'string');
  if (missing.length) return failure(id, -32602, `needs ${missing.join(', ')} as text`);
  try {
    return { jsonrpc: '2.0', id, result: await methods[method].run(given) };
  } catch (error) {
    console.error(error);
    return failure(id, -32603, 'Internal error');
  }
}

async function received(text, send) {
  let message;
  try {
    message = JSON.parse(text);
  } catch {
    return send(JSON.stringify(failure(null, -32700, 'Parse error')));
  }
  const batch = Array.isArray(message) && message.length > 0;
  const answers = (await Promise.all((batch ? message : [message]).map(answer))).filter(Boolean);
  if (answers.length) send(JSON.stringify(batch ? answers : answers[0]));
}

const url = await serve(Number(process.argv[2] ?? 0), received);
console.log(url);
