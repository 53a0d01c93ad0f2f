// SPDX-License-Identifier: MIT
/// The main job: a model in, a smaller GGUF out, tensor by tensor in bounded memory.
#pragma once

#include "../core/progress.hpp"
#include "../plan/format_plan.hpp"
#include "../quantizer/quantized_matrix.hpp"
#include "../quantizer/row_codec.hpp"
#include "../report/compress_report.hpp"
#include "../system/parallel_for.hpp"
#include "encoded_tensors.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// One number a column, finite and not negative: the mean square of what it multiplies.
using column_importance = std::map<std::string, std::vector<float>, std::less<>>;

struct compress_options {
  format type = format::q4_0; ///< of the matrices
  scale_choice scale = scale_rule::mse;
  std::vector<keep_rule> keep = {}; ///< exceptions, the last match wins
  named_formats exact = {};         ///< stronger than both
  unsigned threads = 0;             ///< 0: all
  bool dry_run = false;             ///< plan and check, write nothing
  /// Tensors that are encoded already, in the planned format: they are taken as they are.
  const encoded_tensors* encoded = nullptr;
  /// How much each column of a matrix counts, by the matrix's name, or null: under the rule mse,
  /// in block formats.
  const column_importance* importance = nullptr;

  operator format_request() const { return {type, keep, exact}; }
};

/// Reads every weight once to check it (NaN and infinity are bad_value with tensor and index), then
/// writes `output` tensor by tensor. The file depends on the model and the options alone, not on
/// the machine or the number of threads; it appears when it is complete, and on any error whatever
/// stood under its name stays. Memory: a few MiB a thread, or one row where a row is longer.
[[nodiscard]] compress_report compress(const model_source& source,
                                       const std::filesystem::path& output,
                                       const compress_options& options,
                                       const progress_callback& listener = {});

/// The same into a sink, which is committed in the end; `output` stands for the file's name in
/// messages and in the report.
[[nodiscard]] compress_report compress(const model_source& source, byte_sink& sink,
                                       const std::filesystem::path& output,
                                       const compress_options& options,
                                       const progress_callback& listener = {});

namespace compression::detail {

/// Rows that are handled together: about a million values, and the pieces that threads take.
struct slab_shape {
  std::uint64_t rows, rows_per_piece;
  explicit slab_shape(const stored_tensor& tensor)
      : rows(std::clamp<std::uint64_t>((1 << 20) / tensor.columns(), 1, tensor.rows())),
        rows_per_piece(std::clamp<std::uint64_t>((1 << 15) / tensor.columns(), 1, rows)) {}
};

/// One run over a model: what its two passes share.
class compress_job {
public:
  compress_job(const model_source& source, const compress_options& options,
               const progress_callback& listener)
      : source_(source), options_(options), listener_(listener) {
    for (const auto& tensor : source.tensors)
      tensor.for_each_part([&](const stored_tensor& t) { total_ += t.data.size(); });
  }

  void check();
  void write(gguf_writer& writer, std::span<const tensor_plan> plans, compress_report& report);

private:
  /// Calls use(first_row, rows) slab by slab, reports progress and lets go of what was read.
  template <class Use> void for_each_slab(const model_tensor& tensor, const char* stage, Use use);
  /// Returns how many rows of values that are not all zero became zeros.
  std::uint64_t write_tensor(gguf_writer& writer, const model_tensor& tensor, format type,
                             error_accumulator& error);

  [[nodiscard]] std::span<const float> importance_of(const stored_tensor& tensor,
                                                     format type) const;

  const model_source& source_;
  const compress_options& options_;
  const progress_callback& listener_;
  std::uint64_t done_ = 0, total_ = 0;
};

template <class Use>
void compress_job::for_each_slab(const model_tensor& tensor, const char* stage, Use use) {
  const stored_tensor& stored = tensor.stored;
  const std::uint64_t bytes_per_row = row_bytes(stored.type, stored.columns());
  const std::string item = escaped(stored.name); // listeners print it
  const slab_shape slab(stored);
  for (std::uint64_t row = 0; row < stored.rows(); row += slab.rows) {
    const std::uint64_t rows = std::min(slab.rows, stored.rows() - row);
    if (listener_) listener_({stage, item, done_, total_});
    use(row, rows);
    done_ += rows * bytes_per_row;
    if (stored.file && tensor.rope_heads == 0 && tensor.stack.empty())
      stored.file->drop(stored.data.subspan(row * bytes_per_row, rows * bytes_per_row));
  }
  tensor.for_each_part([](const stored_tensor& t) {
    if (t.file) t.file->drop(t.data);
  });
  if (listener_) listener_({stage, item, done_, total_});
}

inline void compress_job::check() {
  done_ = 0;
  for (const auto& tensor : source_.tensors) {
    if (is_integer(tensor.stored.type)) continue;
    const std::uint64_t columns = tensor.stored.columns();
    const std::uint64_t piece = slab_shape(tensor.stored).rows_per_piece;
    const std::string place = place_of(source_.name, "tensor", tensor.stored.name);
    for_each_slab(tensor, "check", [&](std::uint64_t first, std::uint64_t rows) {
      parallel_for(ceil_divide(rows, piece), options_.threads, [&](std::size_t p) {
        std::vector<float> row(columns);
        for (std::uint64_t r = p * piece; r < std::min(rows, (p + 1) * piece); ++r) {
          decode_row(tensor.stored.type, tensor.row(first + r).data(), row);
          require_finite(row, place, (first + r) * columns);
        }
      });
    });
  }
}

inline std::span<const float> compress_job::importance_of(const stored_tensor& tensor,
                                                          format type) const {
  if (options_.importance == nullptr || !is_block_format(type)) return {};
  const auto found = options_.importance->find(tensor.name);
  if (found == options_.importance->end()) return {};
  require_importance(found->second, tensor.columns(),
                     place_of(source_.name, "tensor", tensor.name));
  return found->second;
}

inline std::uint64_t compress_job::write_tensor(gguf_writer& writer, const model_tensor& tensor,
                                                format type, error_accumulator& error) {
  const stored_tensor& stored = tensor.stored;
  const std::uint64_t columns = stored.columns(), piece = slab_shape(stored).rows_per_piece;
  const std::uint64_t bytes_per_row = row_bytes(type, columns);
  const std::string place = place_of(source_.name, "tensor", stored.name);
  const auto* ready = options_.encoded ? options_.encoded->find(stored.name) : nullptr;
  if (ready != nullptr &&
      (ready->type != type || ready->bytes.size() != stored.rows() * bytes_per_row))
    fail(error_code::bad_argument, place,
         "encoded as " + std::string(name_of(ready->type)) + ", planned as " +
             std::string(name_of(type)));
  const std::span<const float> importance = importance_of(stored, type);
  std::vector<std::byte> bytes;
  std::vector<error_accumulator> errors;
  std::vector<char> vanished;
  std::uint64_t vanished_rows = 0;
  const auto is_zero = [](const std::vector<float>& row) {
    return kernel::absmax_bits(std::span<const float>(row)) == 0;
  };
  for_each_slab(tensor, "quantize", [&](std::uint64_t first, std::uint64_t rows) {
    bytes.resize(rows * bytes_per_row);
    errors.assign(rows, {});
    vanished.assign(rows, 0);
    parallel_for(ceil_divide(rows, piece), options_.threads, [&](std::size_t p) {
      std::vector<float> values(columns), decoded(columns);
      row_encoder encode(type, options_.scale, place);
      for (std::uint64_t r = p * piece; r < std::min(rows, (p + 1) * piece); ++r) {
        const auto source = tensor.row(first + r);
        std::byte* out = bytes.data() + r * bytes_per_row;
        decode_row(stored.type, source.data(), values);
        if (ready != nullptr)
          std::memcpy(out, ready->bytes.data() + (first + r) * bytes_per_row, bytes_per_row);
        else if (type == stored.type) // a second rounding could only lose
          std::memcpy(out, source.data(), source.size());
        else
          encode(values, importance, (first + r) * columns, out);
        decode_row(type, out, decoded);
        errors[r].add(values, decoded);
        vanished[r] = is_zero(decoded) && !is_zero(values);
      }
    });
    for (const auto& row : errors) error.merge(row);
    for (const char row : vanished) vanished_rows += row != 0;
    writer.write(bytes);
  });
  return vanished_rows;
}

inline void compress_job::write(gguf_writer& writer, std::span<const tensor_plan> plans,
                                compress_report& report) {
  done_ = 0;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const model_tensor& tensor = source_.tensors[i];
    if (is_integer(tensor.stored.type))
      writer.write(tensor.stored.data);
    else if (const auto rows = write_tensor(writer, tensor, plans[i].type, report.tensors[i].error))
      report.notes.push_back(escaped(tensor.stored.name) + ": " + counted(rows, "row") +
                             " of small values became zeros in " +
                             std::string(name_of(plans[i].type)) + " by rule " +
                             to_string(options_.scale) + "; mse keeps what the format can hold");
    report.error.merge(report.tensors[i].error);
    if (const auto* ready = options_.encoded ? options_.encoded->find(tensor.stored.name) : nullptr)
      report.tensors[i].output_error = ready->output_error;
  }
}

[[nodiscard]] inline compress_report planned_report(const model_source& source,
                                                    const std::filesystem::path& output,
                                                    const compress_options& options,
                                                    std::span<const tensor_plan> plans) {
  compress_report report;
  report.input = source.name, report.output = output.string();
  report.type = options.type, report.scale = options.scale, report.dry_run = options.dry_run;
  report.notes = source.notes;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const stored_tensor& t = source.tensors[i].stored;
    report.tensors.push_back(
        {t.name, t.dims, t.type, plans[i].type, t.data.size(), plans[i].bytes, {}});
    report.values += t.values();
    report.bytes_before += t.data.size();
    report.bytes_after += plans[i].bytes;
    if (plans[i].fallback)
      report.notes.push_back(
          escaped(t.name) + " (" + format_shape(t.dims) + ") becomes " +
          std::string(name_of(plans[i].type)) + ": its rows are no multiple of " +
          (plans[i].type == format::f16 ? "32" : "the block that was asked for"));
  }
  if (options.encoded != nullptr && options.encoded->size() != 0)
    report.notes.push_back("matrices of layers follow the original's outputs on the calibration "
                           "text, so their SQNR, which compares weights, understates them");
  return report;
}

/// compress() into a writer that open(metadata, tensors) returns once the input is checked.
template <class Open>
[[nodiscard]] compress_report
compress_into(const Open& open, const model_source& source, const std::filesystem::path& output,
              const compress_options& options, const progress_callback& listener) {
  const auto plans = plan_formats(source, options.type, options.keep, options.exact);
  const gguf_metadata metadata = output_metadata(source, plans);
  const auto infos = planned_tensors(source, plans);
  compress_report report = planned_report(source, output, options, plans);
  report.file_bytes = gguf_file_size(metadata, infos);
  compress_job job(source, options, listener);
  job.check();
  if (options.dry_run) return report;
  gguf_writer writer = open(metadata, std::span<const tensor_info>(infos));
  job.write(writer, plans, report);
  writer.finish();
  return report;
}

} // namespace compression::detail

inline compress_report compress(const model_source& source, const std::filesystem::path& output,
                                const compress_options& options,
                                const progress_callback& listener) {
  const auto open = [&](const auto& metadata, auto tensors) {
    return gguf_writer(output, metadata, tensors);
  };
  return compression::detail::compress_into(open, source, output, options, listener);
}

inline compress_report compress(const model_source& source, byte_sink& sink,
                                const std::filesystem::path& output,
                                const compress_options& options,
                                const progress_callback& listener) {
  const auto open = [&](const auto& metadata, auto tensors) {
    return gguf_writer(sink, place_of(output), metadata, tensors);
  };
  return compression::detail::compress_into(open, source, output, options, listener);
}

} // namespace edgequant::inline EDGEQUANT_ABI
