// Tokens per second of stock llama.cpp and of the built-in engine on the same files, in turn.
//   node speed.mjs ENGINE_BENCH MODEL.gguf [MODEL.gguf ...]
// Prints medians of five rounds and their ratio, at one and two threads. PROMPT and TOKENS in the
// environment choose the lengths (64 and 16).
import { execFileSync } from "node:child_process";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";

const prompt = Number(process.env.PROMPT ?? 64), tokens = Number(process.env.TOKENS ?? 16);
const seconds = async (work) => { const start = performance.now(); await work(); return (performance.now() - start) / 1000; };

/// In a process of its own: [prefill, decode] of llama.cpp.
async function measure(file, threads) {
  const { getLlama } = await import("node-llama-cpp");
  const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: "error", maxThreads: threads });
  const model = await llama.loadModel({ modelPath: file });
  const context = await model.createContext({ contextSize: prompt + tokens + 16, batchSize: Math.max(prompt, 64), threads: { ideal: threads, min: threads } });
  const sequence = context.getSequence();
  const begin = Array.from({ length: prompt }, (_, i) => 3 + (i * 7919) % 250);
  await sequence.evaluateWithoutGeneratingNewTokens(begin.slice(0, 8)); // wakes everything
  await sequence.clearHistory();
  const prefill = await seconds(() => sequence.evaluateWithoutGeneratingNewTokens(begin));
  const decode = await seconds(async () => {
    // With logits, as who wants a next token needs them: without, a fifth to a third of the weights are not read.
    for (let i = 0; i < tokens; ++i) await sequence.controlledEvaluate([[3 + (i * 31) % 250, { generateNext: { token: true } }]]);
  });
  console.log(JSON.stringify([prompt / prefill, tokens / decode]));
  process.exit(0);
}

const run = (program, ...args) => JSON.parse(execFileSync(program, args.map(String), { encoding: "utf8" }));
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

const [program, ...files] = process.argv.slice(2);
if (program === "measure") await measure(files[0], Number(files[1]));
console.log(`${prompt} tokens of prompt, ${tokens} generated; tokens/s: ours, llama.cpp's, ratio`);
for (const file of files)
  for (const threads of [1, 2]) {
    const ours = [[], []], theirs = [[], []];
    for (let round = 0; round < 5; ++round) {
      const other = run(process.execPath, fileURLToPath(import.meta.url), "measure", file, threads);
      const own = run(program, file, prompt, tokens, threads, 1);
      [own.prefill_tokens_per_second, own.decode_tokens_per_second].forEach((value, i) => ours[i].push(value));
      other.forEach((value, i) => theirs[i].push(value));
    }
    const row = ["prefill", "decode"].map((name, i) => {
      const a = median(ours[i]), b = median(theirs[i]);
      return `${name} ${a.toFixed(1)} ${b.toFixed(1)} ${(a / b).toFixed(2)}`;
    });
    console.log(`${basename(file)}, ${threads} thread${threads > 1 ? "s" : ""}: ${row.join("; ")}`);
  }
