// SPDX-License-Identifier: MIT
/// A smaller network of the same kind: layers, heads and feed-forward channels that stay.
#pragma once

#include "../core/number_parse.hpp"
#include "../io/gguf_writer.hpp"
#include "../quantizer/row_codec.hpp"
#include "../system/scratch_file.hpp"
#include "architecture_keys.hpp"
#include "model_shape.hpp"
#include "tensor_table.hpp"

#include <numeric>

namespace edgequant::inline EDGEQUANT_ABI {

/// What stays of a layer, by its numbers in the original, ascending. Without heads it has no
/// attention, without channels no feed-forward network; without both it is gone.
struct kept_layer {
  std::vector<std::size_t> kv_heads;
  std::vector<std::size_t> heads; ///< of queries: as many for each kept head of keys and values
  std::vector<std::size_t> channels;

  [[nodiscard]] bool is_gone() const noexcept { return heads.empty() && channels.empty(); }
  friend bool operator==(const kept_layer&, const kept_layer&) = default;
};

/// All of a layer.
[[nodiscard]] kept_layer whole_layer(const layer_shape& shape);

/// Weights of the matrices of a layer that are kept, those of all experts and their router too.
[[nodiscard]] std::uint64_t kept_weights(const model_shape& shape, const layer_shape& layer,
                                         const kept_layer& kept) noexcept;

/// The model without what is not kept; `kept` has an entry for each of its layers. Layers that
/// differ in size make a `deci` of a `llama`, which llama.cpp and this engine run alike; where all
/// have one size the architecture stays. The file has no name and lies in the folder of `beside`
/// for as long as the result lives. Matrices whose columns are cut become f32 unless they are f32,
/// f16 or bf16; everything else keeps its type.
///
/// bad_argument, with the layer: for numbers that the layer does not have, kept heads that are not
/// shared evenly, attention without feed-forward (llama.cpp skips such a layer), a first layer
/// without attention, channels of experts, heads with sinks, with one norm of all, or of an
/// architecture that llama.cpp loads with all of them alone, layers of
/// different sizes in an architecture that has one size, and layers whose window or RoPE would be
/// another one at their new place.
[[nodiscard]] gguf_file cut_model(const gguf_file& file, std::span<const kept_layer> kept,
                                  const std::filesystem::path& beside);

inline kept_layer whole_layer(const layer_shape& shape) {
  const auto all = [](std::size_t count) {
    std::vector<std::size_t> list(count);
    std::iota(list.begin(), list.end(), std::size_t{0});
    return list;
  };
  return {all(shape.kv_heads), all(shape.heads), all(shape.feed_forward)};
}

inline std::uint64_t kept_weights(const model_shape& shape, const layer_shape& layer,
                                  const kept_layer& kept) noexcept {
  const std::uint64_t attention = 2 * shape.head_size * (kept.heads.size() + kept.kv_heads.size());
  std::uint64_t feed_forward = 3 * kept.channels.size();
  if (layer.experts != 0 && !kept.channels.empty())
    feed_forward = layer.experts * (feed_forward + 1);
  return shape.hidden * (attention + feed_forward);
}

/// Whether other numbers of heads than the model's own can be kept.
[[nodiscard]] constexpr bool heads_can_be_cut(const architecture_row& row) noexcept {
  return !row.attention_sinks && row.qk_norms != qk_norm::all && !row.heads_fill_hidden;
}

namespace model::detail {

/// One cut: what it keeps, checked, and the metadata of the result.
class network_cut {
public:
  network_cut(const gguf_file& file, std::span<const kept_layer> kept)
      : file_(file), kept_(kept), shape_(read_model_shape(file.metadata)) {
    if (kept.size() != shape_.layers.size())
      fail(error_code::bad_argument, file.metadata.place(),
           counted(kept.size(), "layer") + " to keep of " + std::to_string(shape_.layers.size()));
    for (std::size_t i = 0; i < kept.size(); ++i) {
      check(i);
      if (!kept[i].is_gone()) layers_.push_back(i);
    }
    if (layers_.empty())
      fail(error_code::bad_argument, file.metadata.place(), "no layer would be left");
    const kept_layer& first = kept[layers_[0]];
    if (first.heads.empty() && (layers_[0] != 0 || shape_.layers[0].heads != 0))
      refuse(layers_[0], "the first layer needs attention");
    for (const std::size_t i : layers_)
      is_uniform_ = is_uniform_ && kept[i].heads.size() == first.heads.size() &&
                    kept[i].kv_heads.size() == first.kv_heads.size() &&
                    kept[i].channels.size() == first.channels.size();
    set_metadata();
    check_places();
  }

  [[nodiscard]] const gguf_metadata& metadata() const noexcept { return metadata_; }
  /// The tensor's name in the result; empty where it is gone.
  [[nodiscard]] std::string new_name(const std::string& name) const;
  /// The rows and columns of a tensor that stay; empty: all.
  struct kept_part {
    std::vector<std::size_t> rows, columns;
  };
  [[nodiscard]] kept_part part_of(const stored_tensor& t) const;

private:
  [[noreturn]] void refuse(std::size_t layer, const std::string& problem) const {
    fail(error_code::bad_argument, place_of(file_.metadata.place(), "layer", std::to_string(layer)),
         problem);
  }
  /// The number in `blk.N.`; bad_file where there is none, or no such layer.
  [[nodiscard]] std::size_t layer_of(const std::string& name) const {
    const auto dot = std::min(name.find('.', 4), name.size());
    const auto number = read_number(std::string_view(name).substr(4, dot - 4));
    if (!number || dot + 1 >= name.size() || name.rfind('.') == dot || !(*number >= 0) ||
        *number != std::floor(*number) || !(*number < static_cast<double>(shape_.layers.size())))
      fail(error_code::bad_file, place_of(file_.metadata.place(), "tensor", name),
           "it belongs to no layer");
    return static_cast<std::size_t>(*number);
  }
  void check(std::size_t layer) const;
  void set_metadata();
  void check_places() const;
  [[nodiscard]] std::vector<std::size_t> indices(network_size size, std::size_t layer) const;

  const gguf_file& file_;
  std::span<const kept_layer> kept_;
  model_shape shape_;
  std::vector<std::size_t> layers_; ///< those that stay
  bool is_uniform_ = true;          ///< they have one size
  gguf_metadata metadata_;
};

inline void network_cut::check(std::size_t layer) const {
  const kept_layer& kept = kept_[layer];
  const layer_shape& shape = shape_.layers[layer];
  const auto require = [&](const std::vector<std::size_t>& list, std::size_t count,
                           const char* what) {
    for (std::size_t i = 0; i < list.size(); ++i)
      if (list[i] >= count || (i != 0 && list[i] <= list[i - 1]))
        refuse(layer,
               "expected " + std::string(what) + " below " + std::to_string(count) + ", ascending");
  };
  require(kept.kv_heads, shape.kv_heads, "heads of keys");
  require(kept.heads, shape.heads, "heads");
  require(kept.channels, shape.feed_forward, "channels");
  if (kept == whole_layer(shape) || kept.is_gone()) return;
  const auto& row = *shape_.architecture;
  if (shape.experts != 0) refuse(layer, "of a layer of experts all or nothing can stay");
  if (!heads_can_be_cut(row) && kept.heads.size() != shape.heads && !kept.heads.empty())
    refuse(layer, row.attention_sinks            ? "heads with sinks cannot be cut"
                  : row.qk_norms == qk_norm::all ? "heads that share one norm cannot be cut"
                                                 : "llama.cpp loads no other number of heads");
  if (kept.channels.empty() && shape.feed_forward != 0)
    refuse(layer, "attention without a feed-forward network is skipped by llama.cpp");
  if (kept.kv_heads.empty() != kept.heads.empty())
    refuse(layer, "heads of queries need heads of keys");
  if (kept.heads.empty()) return;
  const std::size_t group = shape.heads / shape.kv_heads;
  std::vector<std::size_t> counts(kept.kv_heads.size());
  for (const std::size_t h : kept.heads) {
    const auto at = std::find(kept.kv_heads.begin(), kept.kv_heads.end(), h / group);
    if (at == kept.kv_heads.end())
      refuse(layer, "head " + std::to_string(h) + " stays, its keys do not");
    ++counts[static_cast<std::size_t>(at - kept.kv_heads.begin())];
  }
  for (const std::size_t c : counts)
    if (c != counts[0]) refuse(layer, "heads of keys would serve different numbers of queries");
}

inline void network_cut::set_metadata() {
  std::string prefix = std::string(shape_.architecture->name) + ".";
  metadata_ = gguf_metadata(file_.metadata.place());
  const bool to_deci = !is_uniform_ && shape_.architecture->name == "llama";
  if (!is_uniform_ && !to_deci && shape_.architecture->name != "deci")
    fail(error_code::bad_argument, file_.metadata.place(),
         "layers of " + std::string(shape_.architecture->name) +
             " have one size; those of llama may differ");
  for (const auto& layer : shape_.layers)
    if (to_deci && layer.window != 0)
      fail(error_code::bad_argument, file_.metadata.place(),
           "layers with a window of tokens have one size");
  for (auto item : file_.metadata) {
    if (item.key == "general.size_label") continue; // of the original
    if (to_deci && item.key.starts_with(prefix)) item.key.replace(0, prefix.size(), "deci.");
    metadata_.set_entry(std::move(item));
  }
  if (to_deci) {
    prefix = "deci.";
    metadata_.set("general.architecture", "deci");
  }
  const auto set = [&](const char* key, std::uint64_t value) {
    metadata_.set(prefix + key, static_cast<std::uint32_t>(value));
  };
  set("block_count", layers_.size());
  set("attention.key_length", shape_.head_size);
  set("attention.value_length", shape_.head_size);
  set("rope.dimension_count", shape_.rope_size);
  const auto set_sizes = [&](const char* key, auto size_of) {
    if (is_uniform_) return set(key, size_of(kept_[layers_[0]]));
    std::vector<std::int32_t> list;
    for (const std::size_t i : layers_)
      list.push_back(static_cast<std::int32_t>(size_of(kept_[i])));
    metadata_.set_array(prefix + key, list);
  };
  set_sizes("attention.head_count", [](const kept_layer& l) { return l.heads.size(); });
  set_sizes("attention.head_count_kv", [](const kept_layer& l) { return l.kv_heads.size(); });
  set_sizes(shape_.architecture->experts ? "expert_feed_forward_length" : "feed_forward_length",
            [](const kept_layer& l) { return l.channels.size(); });
  const char* pattern = "attention.sliding_window_pattern";
  if (const auto flags = metadata_.get_bools(prefix + pattern)) {
    std::vector<std::uint8_t> left;
    for (const std::size_t i : layers_) left.push_back(flags->at(i));
    gguf_metadata::entry item{prefix + pattern, gguf_type::array, {}};
    append_number(item.value, static_cast<std::uint32_t>(gguf_type::boolean));
    append_number(item.value, std::uint64_t{left.size()});
    for (const auto flag : left) append_number(item.value, flag);
    metadata_.set_entry(std::move(item));
  }
}

/// What an architecture gives a layer by its number must be what the layer had.
inline void network_cut::check_places() const {
  const model_shape after = read_model_shape(metadata_);
  if (after.attention_scale != shape_.attention_scale)
    fail(error_code::bad_argument, file_.metadata.place(),
         "with other layers or heads attention would have another scale");
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const layer_shape& old = shape_.layers[layers_[i]];
    const layer_shape& now = after.layers[i];
    if (now.heads != 0 && (now.window != old.window || now.has_rope != old.has_rope))
      refuse(layers_[i], "as layer " + std::to_string(i) + " it would have another window or RoPE");
  }
}

inline std::string network_cut::new_name(const std::string& name) const {
  if (!name.starts_with("blk.")) return name;
  const auto layer = layer_of(name);
  const auto at = std::find(layers_.begin(), layers_.end(), layer);
  if (at == layers_.end()) return {};
  const std::string rest = name.substr(name.find('.', 4));
  const kept_layer& kept = kept_[layer];
  const bool is_attention = rest.starts_with(".attn_") || rest == ".post_attention_norm.weight";
  const bool is_feed_forward = rest.starts_with(".ffn_") || rest.starts_with(".post_ffw");
  if ((is_attention && kept.heads.empty()) || (is_feed_forward && kept.channels.empty())) return {};
  return "blk." + std::to_string(at - layers_.begin()) + rest;
}

/// The numbers of what stays of a size; empty: all.
inline std::vector<std::size_t> network_cut::indices(network_size size, std::size_t layer) const {
  const kept_layer& kept = kept_[layer];
  const layer_shape& shape = shape_.layers[layer];
  std::vector<std::size_t> list;
  const auto add = [&](const std::vector<std::size_t>& parts, std::size_t each, std::size_t from) {
    for (const std::size_t p : parts)
      for (std::size_t i = 0; i < each; ++i) list.push_back(from + p * each + i);
  };
  const std::size_t d = shape_.head_size;
  switch (size) {
  case network_size::queries:
    add(kept.heads, d, 0);
    break;
  case network_size::keys:
    add(kept.kv_heads, d, 0);
    break;
  case network_size::queries_keys_values:
    add(kept.heads, d, 0);
    add(kept.kv_heads, d, shape.heads * d);
    add(kept.kv_heads, d, (shape.heads + shape.kv_heads) * d);
    break;
  case network_size::feed_forward:
    if (shape.experts == 0) add(kept.channels, 1, 0);
    break;
  case network_size::gate_and_up:
    add(kept.channels, 1, 0);
    add(kept.channels, 1, shape.feed_forward);
    break;
  default:
    break;
  }
  return list;
}

inline network_cut::kept_part network_cut::part_of(const stored_tensor& t) const {
  if (!t.name.starts_with("blk.")) return {};
  const auto layer = layer_of(t.name);
  const auto dot = t.name.find('.', 4), end = t.name.rfind('.');
  const std::string_view base = std::string_view(t.name).substr(dot + 1, end - dot - 1);
  for (const auto& row : tensor_table)
    if (row.gguf == base &&
        (has_tensor(*shape_.architecture, row) || row.gguf == "attn_qkv" ||
         row.part == tensor_part::separate)) { // any file may hold q, k and v either way
      if (t.dims.size() == 1) return {{}, indices(row.rows, layer)};
      return {indices(row.rows, layer), indices(row.columns, layer)};
    }
  return {};
}

} // namespace model::detail

inline gguf_file cut_model(const gguf_file& file, std::span<const kept_layer> kept,
                           const std::filesystem::path& beside) {
  const model::detail::network_cut cut(file, kept);
  struct cut_tensor {
    const stored_tensor* from;
    model::detail::network_cut::kept_part part;
  };
  std::vector<tensor_info> infos;
  std::vector<cut_tensor> tensors;
  for (const auto& t : file.tensors) {
    const std::string name = cut.new_name(t.name);
    if (name.empty()) continue;
    auto part = cut.part_of(t);
    tensor_info info{name, t.dims, t.type};
    if (!part.rows.empty()) info.dims.at(1) = part.rows.size();
    if (part.columns.size() == t.columns()) part.columns.clear();
    if (!part.columns.empty()) info.dims[0] = part.columns.size();
    const bool is_float = t.type == format::f32 || t.type == format::f16 || t.type == format::bf16;
    if (!part.columns.empty() && !is_float) info.type = format::f32;
    infos.push_back(std::move(info));
    tensors.push_back({&t, std::move(part)});
  }
  scratch_file output(beside);
  gguf_writer writer(output, place_of(beside), cut.metadata(), infos);
  for (std::size_t i = 0; i < infos.size(); ++i) {
    const stored_tensor& from = *tensors[i].from;
    const auto& [rows, columns] = tensors[i].part;
    const std::uint64_t bytes = row_bytes(from.type, from.columns());
    std::vector<float> values(from.columns()), left(columns.size());
    std::vector<std::byte> encoded(columns.empty() ? 0 : row_bytes(infos[i].type, left.size()));
    std::optional<row_encoder> encode;
    if (!columns.empty()) encode.emplace(infos[i].type, scale_rule::absmax, from.name);
    const std::uint64_t count = rows.empty() ? from.rows() : rows.size();
    for (std::uint64_t r = 0; r < count; ++r) {
      const std::byte* row = from.data.data() + (rows.empty() ? r : rows[r]) * bytes;
      if (columns.empty()) {
        writer.write({row, bytes});
        continue;
      }
      decode_row(from.type, row, values);
      for (std::size_t c = 0; c < columns.size(); ++c) left[c] = values[columns[c]];
      (*encode)(left, {}, r * left.size(), encoded.data());
      writer.write(encoded);
    }
  }
  writer.finish();
  return read_gguf(output.map());
}

} // namespace edgequant::inline EDGEQUANT_ABI
