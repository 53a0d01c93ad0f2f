// What a budgeted plan is worth, judged by stock llama.cpp: KL divergence from the f32 file on TEXT.
//   node quality.mjs QUANTIZE_MODEL MODEL CALIBRATION TEXT SIZE|OTHER.gguf [...]
// First q4_0 by every method. Then, for each size in bytes or other program's file: that file, our
// plan of its size, and by the same losses and method greedy sensitivity per byte and the
// head-and-tail recipe (first and last layers larger, from outside inwards), neither smaller than ours.
// CANDIDATES (all that quantize_model knows) and TOKENS (5000) can be set in the environment.
import { execFileSync } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { getLlama } from "node-llama-cpp";

const [quantize, source, calibration, text, ...sizes] = process.argv.slice(2);
const candidates = process.env.CANDIDATES ? ["--candidates", process.env.CANDIDATES] : [];
const length = Number(process.env.TOKENS ?? 5000), window = 256;
const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: "error", maxThreads: 2 });

function make(name, ...args) {
  const file = `quality-${name}.gguf`;
  execFileSync(quantize, [source, file, ...args], { stdio: ["ignore", "ignore", "pipe"], maxBuffer: 1 << 28 });
  return file;
}

/// The probabilities of every next token of the text.
async function evaluate(modelPath) {
  const model = await llama.loadModel({ modelPath }), rows = [];
  const tokens = model.tokenize(readFileSync(text, "utf8")).slice(0, length);
  const context = await model.createContext({ contextSize: window + 8, threads: 2 }), sequence = context.getSequence();
  for (let i = 0; i < tokens.length; i += window - 1) {
    const chunk = [model.tokens.bos, ...tokens.slice(i, i + window - 1)].slice(0, -1);
    await sequence.clearHistory();
    const steps = await sequence.controlledEvaluate(chunk.map((t) => [t, { generateNext: { probabilities: true } }]));
    rows.push(...steps.map((step) => step.next.probabilities));
  }
  await context.dispose();
  await model.dispose();
  return rows;
}

const reference = await evaluate(make("f32", "--format", "f32"));
/// Nats a token, of the tokens that the reference deems possible.
async function judge(name, file) {
  const rows = await evaluate(file), least = 1e-12;
  let sum = 0;
  reference.forEach((p, i) => p.forEach((share, token) => {
    if (share > least) sum += share * Math.log(share / Math.max(rows[i].get(token) ?? 0, least));
  }));
  console.log(`${String(statSync(file).size).padStart(11)} ${(sum / rows.length).toFixed(6)} ${name}`);
}

/// The rivals of a plan: one list of formats each.
function rivals(plan) {
  const leaves = 0.45; // of a layer's loss, by GPTQ: as the plan itself counts
  const tensors = plan.tensors.map((t) => ({
    name: t.name, layer: t.name.startsWith("blk.") ? Number(t.name.split(".")[1]) : -1, format: t.format,
    choices: t.candidates.map((c) => ({ format: c.format, bytes: Math.ceil(c.bytes / 32) * 32, loss: c.kl * (t.name.startsWith("blk.") ? leaves : 1) }))
      .sort((a, b) => a.bytes - b.bytes),
  }));
  const total = (choice, key) => tensors.reduce((sum, t, i) => sum + t.choices[choice[i]][key], 0);
  const own = tensors.map((t) => t.choices.findIndex((c) => c.format === t.format));
  const room = total(own, "bytes"), limit = room + plan.budget_bytes - plan.file_bytes;
  const steps = (choice) => tensors.flatMap((t, i) => t.choices.slice(choice[i] + 1).map((c, k) => {
    const now = t.choices[choice[i]], bytes = c.bytes - now.bytes;
    return { next: choice.with(i, choice[i] + 1 + k), bytes, worth: (now.loss - c.loss) / bytes };
  })).filter((s) => s.bytes > 0);
  const fill = (choice) => { // the smallest step that makes it no smaller than ours
    const missing = room - total(choice, "bytes");
    const step = steps(choice).filter((s) => s.bytes >= missing).sort((a, b) => a.bytes - b.bytes)[0];
    return missing > 0 && step ? step.next : choice;
  };
  let greedy = tensors.map(() => 0);
  for (;;) {
    const fits = steps(greedy).filter((s) => total(s.next, "bytes") <= limit).sort((a, b) => b.worth - a.worth);
    if (fits.length === 0) break;
    greedy = fits[0].next;
  }
  const last = Math.max(...tensors.map((t) => t.layer)), order = tensors.map((t, i) => i).filter((i) => tensors[i].layer >= 0);
  const depth = (i) => Math.min(tensors[i].layer, last - tensors[i].layer);
  order.sort((a, b) => depth(a) - depth(b) || a - b);
  const pick = (i, k) => Math.min(k, tensors[i].choices.length - 1);
  let best; // of all pairs of formats and formats of the other matrices, the one of least loss
  const kinds = Math.max(...tensors.map((t) => t.choices.length));
  for (let other = 0; other < kinds; ++other)
    for (let small = 0; small < kinds; ++small)
      for (let large = small + 1; large < kinds; ++large) {
        let choice = tensors.map((t, i) => pick(i, t.layer < 0 ? other : small));
        if (total(choice, "bytes") > limit) continue;
        for (const i of order) {
          const next = choice.with(i, pick(i, large));
          if (total(next, "bytes") <= limit) choice = next;
        }
        choice = fill(choice);
        if (!best || total(choice, "loss") < total(best, "loss")) best = choice;
      }
  const formats = (choice) => tensors.map((t, i) => ({ name: t.name, format: t.choices[choice[i]].format }));
  return { greedy: formats(fill(greedy)), "head and tail": formats(best) };
}

let finished = false; // a promise that nobody keeps ends the process without a word
process.on("exit", () => { if (!finished) { console.log("FAILED the judge stopped early"); process.exitCode = 1; } });
console.log(`      bytes KL (nats) on ${reference.length} tokens of ${basename(text)}`);
for (const method of ["rtn", "awq", "gptq", "awq+gptq"])
  await judge(`q4_0 ${method}`, make("q4_0", "--method", method, "--calibration", calibration));
const gptq = ["--method", "gptq", "--calibration", calibration];
for (const size of sizes) {
  const other = size.endsWith(".gguf"), bytes = other ? statSync(size).size : Number(size);
  if (other) await judge(basename(size), size);
  await judge(`planned for ${bytes}`, make("plan", ...gptq, "--budget", String(bytes), ...candidates, "--plan-out", "quality-plan.json"));
  for (const [name, tensors] of Object.entries(rivals(JSON.parse(readFileSync("quality-plan.json", "utf8"))))) {
    writeFileSync("quality-rival.json", JSON.stringify({ tensors }));
    await judge(`  ${name}`, make("rival", ...gptq, "--plan", "quality-rival.json"));
  }
}
finished = true;
process.exit(0);
