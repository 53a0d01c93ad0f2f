// Stock llama.cpp as the judge: it must load every file, and the perplexity of a story may not grow
// by more than the file's format explains.
//   node llama.mjs STORY REFERENCE.gguf LIMIT TEST.gguf [LIMIT TEST.gguf ...]
// LIMIT bounds |perplexity / perplexity of the reference - 1|.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { getLlama } from "node-llama-cpp";

const [story, reference, ...tests] = process.argv.slice(2);
const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: "error", maxThreads: 2 });

/// Perplexity of the story's tokens and the tokens themselves.
async function evaluate(modelPath) {
  const model = await llama.loadModel({ modelPath });
  const tokens = [model.tokens.bos, ...model.tokenize(readFileSync(story, "utf8"))];
  const context = await model.createContext({ contextSize: tokens.length + 8, threads: 2 });
  const steps = await context.getSequence().controlledEvaluate(
    tokens.slice(0, -1).map((token) => [token, { generateNext: { probabilities: true } }]));
  let sum = 0;
  steps.forEach((step, i) => { sum -= Math.log(step.next.probabilities.get(tokens[i + 1])); });
  await context.dispose();
  await model.dispose();
  return { tokens, perplexity: Math.exp(sum / steps.length) };
}

const expected = await evaluate(reference);
console.log(`${basename(reference)}: ${expected.tokens.length} tokens, perplexity ${expected.perplexity.toFixed(4)}`);
// A broken reference would excuse everything: these models know stories, so a token costs few bits.
let failed = !(expected.perplexity < 20);
let finished = false; // a promise that nobody keeps ends the process without a word
process.on("exit", () => { if (!finished) { console.log("FAILED the judge stopped early"); process.exitCode = 1; } });
if (expected.tokens.length < 200) failed = true;
for (let i = 0; i < tests.length; i += 2) {
  const limit = Number(tests[i]), found = await evaluate(tests[i + 1]);
  const growth = found.perplexity / expected.perplexity - 1;
  const good = Math.abs(growth) <= limit && found.tokens.join() === expected.tokens.join();
  failed ||= !good;
  console.log(`${good ? "ok    " : "FAILED"} ${basename(tests[i + 1])}: perplexity ${found.perplexity.toFixed(4)}, ` +
    `${(100 * growth).toFixed(3)} % (limit ${(100 * limit).toFixed(1)} %)`);
}
finished = true;
process.exit(failed ? 1 : 0);
