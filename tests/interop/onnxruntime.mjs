// ONNX Runtime as the judge: for each case of matmul_nbits, a model of one MatMulNBits node must give
// the product of our dequantized weights.
//   node onnxruntime.mjs FOLDER
import { readFileSync } from "node:fs";
import { join } from "node:path";
import ort from "onnxruntime-node";

// Protocol buffers, as far as a model of one node needs them: varints and length-prefixed bytes.
// Field numbers are those of onnx.proto.
function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push(value % 128 | 128);
  return Buffer.from([...bytes, value]);
}
const integer = (field, value) => Buffer.concat([varint(field * 8), varint(value)]);
const bytes = (field, value) => {
  const content = Buffer.from(value);
  return Buffer.concat([varint(field * 8 + 2), varint(content.length), content]);
};
const message = (field, ...parts) => bytes(field, Buffer.concat(parts));

const FLOAT = 1, UINT8 = 2;
const attribute = (name, value) => message(5, bytes(1, name), integer(3, value), integer(20, 2));
const initializer = (name, type, dims, raw) =>
  message(5, ...dims.map((d) => integer(1, d)), integer(2, type), bytes(8, name), bytes(9, raw));
const value = (field, name, dims) =>
  message(field, bytes(1, name),
    message(2, message(1, integer(1, FLOAT), message(2, ...dims.map((d) => message(1, integer(1, d)))))));

function model({ M, N, K, block }, codes, scales) {
  const blocks = Math.ceil(K / block);
  return Buffer.concat([
    integer(1, 8), // IR version
    message(8, integer(2, 17)), // operator sets
    message(8, bytes(1, "com.microsoft"), integer(2, 1)),
    message(7,
      message(1, bytes(1, "a"), bytes(1, "codes"), bytes(1, "scales"), bytes(2, "y"), bytes(4, "MatMulNBits"),
        attribute("K", K), attribute("N", N), attribute("bits", 4), attribute("block_size", block),
        attribute("accuracy_level", 1), // activations stay float
        bytes(7, "com.microsoft")),
      bytes(2, "graph"),
      initializer("codes", UINT8, [N, blocks, block / 2], codes),
      initializer("scales", FLOAT, [N, blocks], scales),
      value(11, "a", [M, K]),
      value(12, "y", [M, N])),
  ]);
}

const folder = process.argv[2];
const read = (name) => readFileSync(join(folder, name));
/// A copy, because a Float64Array wants an aligned buffer.
const numbers = (Type, name) => new Type(new Uint8Array(read(name)).buffer);

let failed = false;
const cases = JSON.parse(read("cases.json"));
for (const c of cases) {
  const codes = read(`${c.name}.codes`), scales = read(`${c.name}.scales`);
  const activations = numbers(Float32Array, `${c.name}.activations`);
  const product = numbers(Float64Array, `${c.name}.product`), bound = numbers(Float64Array, `${c.name}.bound`);
  for (const M of [1, c.M]) { // one row has a kernel of its own
    const session = await ort.InferenceSession.create(model({ ...c, M }, codes, scales),
      { intraOpNumThreads: 1, executionProviders: ["cpu"] });
    const a = new ort.Tensor("float32", activations.slice(0, M * c.K), [M, c.K]);
    const y = (await session.run({ a })).y.data;
    let worst = y.length === M * c.N ? 0 : Infinity; // largest difference in units of its bound
    for (let i = 0; i < M * c.N; ++i) worst = Math.max(worst, Math.abs(y[i] - product[i]) / bound[i]);
    const good = worst <= 1;
    failed ||= !good;
    console.log(`${good ? "ok    " : "FAILED"} ${c.name}, ${M} by ${c.K} by ${c.N}: largest difference ` +
      `${worst.toPrecision(3)} of its bound`);
  }
}
process.exit(failed || cases.length === 0 ? 1 : 0);
