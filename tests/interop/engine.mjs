// Stock llama.cpp beside the built-in engine: the same token ids, perplexity and greedy text.
//   node engine.mjs GENERATE PERPLEXITY STORY LIMIT MODEL.gguf [LIMIT MODEL.gguf ...]
// LIMIT bounds |perplexity / llama.cpp's - 1|; below 0.001 the greedy text must be the same too.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { getLlama } from "node-llama-cpp";

const [generate, perplexity, story, ...tests] = process.argv.slice(2);
const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: "error", maxThreads: 2 });
const run = (program, ...args) => JSON.parse(execFileSync(program, args, { encoding: "utf8", maxBuffer: 1 << 28 }));
const context = 128, prompt = "Once upon a time", length = 64;

/// Lines that tokenizers get wrong, alone and mixed, by a fixed random sequence.
function lines() {
  const parts = ["", " ", "  ", "   ", "\t", "\n", "\n\n", " \n ", "a", "The cat", "don't", "we'LL", "3.14159", "1234567", "é", "naïve",
    "e\u0301", "日本語", "中文。", "한국어", "Ελλάδα", "мир", "עברית", "عربى", "हिन्दी", "🙂", "👩‍👩‍👧", "🇩🇪", "\u00a0", "\u200b", "\u3000", "\ufeff", "<s>", "</s>", "<unk>",
    "<|endoftext|>", "<|eot_id|>", "<0x41>", "▁", "▁▁the", "!?", "...", "--", "(x)", "$5,000", "a_b", "C++", "\\n", "\"", "’s", "½", "Ⅳ", "ﬁ", "\u0000x"];
  const all = [...parts, ...readFileSync(story, "utf8").split("\n")];
  let state = 1;
  const random = (n) => (state = (state * 48271) % 2147483647) % n;
  while (all.length < 3000) {
    let line = "";
    for (let i = random(8) + 1; i > 0; --i) line += parts[random(parts.length)] + (random(3) ? "" : " ");
    all.push(line);
  }
  return all;
}

async function greedy(model) {
  const memory = await model.createContext({ contextSize: 256, threads: 2 }), session = memory.getSequence();
  let next = [model.tokens.bos, ...model.tokenize(prompt)];
  const found = [];
  while (found.length < length) {
    const steps = await session.controlledEvaluate(next.map((token, i) =>
      i + 1 < next.length ? token : [token, { generateNext: { probabilities: true } }]));
    let best = -1, most = -1;
    for (const [token, p] of steps[next.length - 1].next.probabilities) if (p > most) most = p, best = token;
    if (best === model.tokens.eos) break;
    found.push(best);
    next = [best];
  }
  await memory.dispose();
  return found;
}

async function expectedPerplexity(model, ids) {
  const memory = await model.createContext({ contextSize: context + 8, threads: 2 }), session = memory.getSequence();
  let sum = 0, count = 0;
  for (let i = 0; i < ids.length; i += context - 1) {
    const chunk = [model.tokens.bos, ...ids.slice(i, i + context - 1)];
    if (chunk.length < 8) break;
    await session.clearHistory();
    const steps = await session.controlledEvaluate(chunk.slice(0, -1).map((t) => [t, { generateNext: { probabilities: true } }]));
    steps.forEach((step, k) => { sum -= Math.log(step.next.probabilities.get(chunk[k + 1])); });
    count += steps.length;
  }
  await memory.dispose();
  return [Math.exp(sum / count), count];
}

// A promise that nobody keeps ends the process without a word: that is no success.
let finished = false, failed = false;
process.on("exit", () => { if (!finished) { console.log("FAILED the judge stopped early"); process.exitCode = 1; } });
const check = (good, text) => { failed ||= !good; console.log(`${good ? "ok    " : "FAILED"} ${text}`); };
const texts = lines();
writeFileSync("lines.jsonl", texts.map((text) => JSON.stringify(text)).join("\n") + "\n");
for (let i = 0; i < tests.length; i += 2) {
  const limit = Number(tests[i]), file = tests[i + 1], name = basename(file);
  const model = await llama.loadModel({ modelPath: file });
  const ours = run(generate, file, "--tokenize", "lines.jsonl");
  const other = texts.findIndex((text, k) => model.tokenize(text).join() !== ours[k].join());
  check(other < 0, `${name}: ${texts.length} lines give the same tokens` + (other < 0 ? "" : `, but not ${JSON.stringify(texts[other])}`));
  const [expected, count] = await expectedPerplexity(model, model.tokenize(readFileSync(story, "utf8")));
  const found = run(perplexity, file, story, "--context", String(context), "--all-tokens", "--json");
  const off = found.perplexity / expected - 1;
  check(Math.abs(off) <= limit && found.tokens === count,
    `${name}: perplexity ${found.perplexity.toFixed(5)} of ${found.tokens} tokens, ${(100 * off).toFixed(4)} % off (limit ${100 * limit} %)`);
  if (limit < 0.001) {
    const text = run(generate, file, "--prompt", prompt, "--tokens", String(length), "--kv", "f32", "--json").tokens;
    check((await greedy(model)).join() === text.join(), `${name}: the same ${text.length} tokens follow "${prompt}"`);
  }
  await model.dispose();
}
finished = true;
process.exit(failed ? 1 : 0);
