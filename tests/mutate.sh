#!/usr/bin/env bash
# Breaks the code on purpose, one defect at a time, in a copy, and says which tests notice. A defect
# that no test notices fails the run.
#   bash tests/mutate.sh [WORD]   only defects whose name has the word; about a minute each
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
flags=(-std=c++20 -O1 -DNDEBUG -march=native -w -I"$copy/include" -Itests -isystem /usr/include/eigen3 -DEDGEQUANT_EXPECT_ISA='""'
  -DEDGEQUANT_SOURCE_DIR="\"$PWD\"")
missed=0
only=${1:-}

# mutate NAME FILE FROM TO: replaces the first occurrence of the literal FROM.
mutate() {
  [[ "$1" == *"$only"* ]] || return 0
  rm -rf "$copy/include" && cp -r include "$copy/include"
  if ! FROM=$3 TO=$4 perl -0pi -e 's/\Q$ENV{FROM}\E/$ENV{TO}/ or exit 3' "$copy/include/edgequant/$2"; then
    echo "| $1 | the code to break is no longer in $2 |"
    missed=$((missed + 1))
    return
  fi
  local noticed="" program
  for program in $rooms; do
    if g++ "${flags[@]}" tests/$program/*_test.cpp -o "$copy/$program" -lgtest -lgtest_main 2>"$copy/log"; then
      local failed
      failed=$("$copy/$program" --gtest_brief=1 2>/dev/null | tee "$copy/log" | sed -n 's,^.  FAILED  . \([^ ,]*\).* ms)$,\1,p' | sort -u | head -n 3 | sed "s/^/$program./" | tr '\n' ' ')
      # A program that ends at once has noticed too.
      if [ -z "$failed" ] && ! grep -q PASSED "$copy/log"; then failed="$program (ends at once) "; fi
      noticed+=$failed
    else
      echo "| $1 | $program does not compile: $(grep -m1 error "$copy/log") |"
      missed=$((missed + 1))
      return 0
    fi
  done
  if [[ "$rooms" == *quantizer* ]] && g++ "${flags[@]}" tests/golden/exactness.cpp -o "$copy/exactness" 2>"$copy/log"; then
    "$copy/exactness" >/dev/null || noticed+="golden.exactness "
  fi
  if [ -z "$noticed" ]; then missed=$((missed + 1)); fi
  echo "| $1 | ${noticed:-NO TEST NOTICED} |"
}

rooms="simd kernel quantizer metric"
echo "| defect | noticed by |"
echo "|---|---|"
mutate "nibbles swapped in one backend" simd/avx512.hpp '_mm512_or_si512(l, h), _mm512_set1_epi32(flip)' '_mm512_or_si512(_mm512_srli_epi32(h, 4), _mm512_slli_epi32(l, 4)), _mm512_set1_epi32(flip)'
mutate "nibbles swapped in q4_0 blocks" kernel/quantize.hpp 'S::store_nibbles(block.nibbles, low, high, 0x88)' 'S::store_nibbles(block.nibbles, high, low, 0x88)'
mutate "fifth bits swapped in q5_0 blocks" kernel/quantize.hpp 'low), zero) | S::less(S::to_f32(high), zero) << 16)' 'high), zero) | S::less(S::to_f32(low), zero) << 16)'
mutate "the fifth bit of the upper values read from the lower" kernel/quantize.hpp 'S::choose(fifth >> 16, up, down)' 'S::choose(fifth, up, down)'
mutate "floor for round in one backend" simd/avx512.hpp '_mm512_cvtps_epi32(_mm512_min_ps(x, _mm512_set1_ps(highest)))' '_mm512_cvt_roundps_epi32(_mm512_min_ps(x, _mm512_set1_ps(highest)), _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)'
mutate "half away for half even everywhere" kernel/quantize.hpp 'return S::clamp_round(scaled, range::lowest, range::highest);' 'return S::round_away(S::clamp(S::rounded(scaled), range::lowest, range::highest));'
mutate "half even for half away in the ggml rule" kernel/quantize.hpp 'return S::round_away(S::clamp(S::rounded(scaled), range::lowest, range::highest));' 'return S::clamp_round(S::rounded(scaled), range::lowest, range::highest);'
mutate "127/max for 1/d" quantizer/scale_storage.hpp 'const float inverse = 1.0f / stored;' 'const float inverse = 1.0f / scale;'
mutate "127/max for 1/d in the sixteen-group pass" quantizer/scale.hpp 'rule == scale_rule::ggml ? scale : stored)' 'scale)'
mutate "wrong zero: 7 for 8" kernel/quantize.hpp 'S::broadcast(-zero)' 'S::broadcast(1.0f - zero)'
mutate "inexact product in the error sum" kernel/error_sums.hpp 'noise = S::add(noise, S::mul(d, d));' 'noise = S::add(noise, S::mul(S::widen(S::sub(S::narrow(w), S::narrow(exact))), S::sub(w, exact)));'
mutate "error of rounded values for error of exact ones" kernel/error_sums.hpp 'S::narrow(S::sub(w, exact))' 'S::sub(S::narrow(w), S::narrow(exact))'
mutate "no negative scales in the mse search" quantizer/half_search.hpp 'range::lowest != -range::highest' 'false'
mutate "the mse search stops early" quantizer/half_search.hpp '} while (alive != 0);' '} while (false);'
mutate "a margin of nothing in the mse bounds" quantizer/half_search.hpp 'return S::mul(S::mul(root, root), S::broadcast(relative_margin_));' 'return S::mul(S::mul(root, root), S::broadcast(0.98f));'
mutate "last value of a tail forgotten" kernel/lanes.hpp 'std::memcpy(buffer, p, count * sizeof(T));' 'std::memcpy(buffer, p, (count - 1) * sizeof(T));'
mutate "a store past the tail" kernel/lanes.hpp 'std::memcpy(p, buffer, count * sizeof(T));' 'std::memcpy(p, buffer, (count + 1) * sizeof(T));'
mutate "-128 allowed at 8 bits" kernel/quantize.hpp 'Bits == 8 ? -127' 'Bits == 8 ? -128'
mutate "infinity taken for a number" kernel/absmax.hpp 'if (absmax_bits<S>(values) < infinity_bits)' 'if (absmax_bits<S>(values) <= infinity_bits)'
mutate "ties of the mse rule to the negative" quantizer/weighted_group.hpp 'a.scale > b.scale' 'a.scale < b.scale'

rooms=quantizer
mutate "GPTQ without compensation" quantizer/gptq_panel.hpp 'S::broadcast(1 / row[i])' 'S::broadcast(0.0f)'
mutate "later blocks of a step do not follow" quantizer/gptq_panel.hpp 'residual(i), end - next, sums, stride)' 'residual(i), 0, sums, stride)'
mutate "later steps of GPTQ do not see earlier ones" quantizer/gptq_job.hpp 'whole_rows ? setting_.columns : begin' 'whole_rows ? setting_.columns : 0'
mutate "slopes of other blocks stay in the descent" quantizer/gptq_descent.hpp 'add_multiples(row, change, at_first, slopes, stride);' ''
mutate "gains of scales are not counted" quantizer/gptq_descent.hpp 'errors[r] += x * (x * c - 2 * d);' ''
mutate "halves never move" quantizer/gptq_descent.hpp 'if (halves) move_halves(block);' ''
mutate "the sweep does not descend" quantizer/gptq_panel.hpp 'if (setting_.descends) descend_on_adapted(begin, end);' ''
mutate "GPTQ never gives way to rounding" quantizer/gptq_job.hpp 'return !(swept[p].error(r) <= rounded[p].error(r));' 'return p > r + 1000;'
rooms=gemm
mutate "wrong offset of q4_0 panels" gemm/activation_group.hpp 'S::first_sum - 8 * sum' 'S::first_sum - 7 * sum'
mutate "codes of a panel without their offset" gemm/panel.hpp 'words[k] ^= flip;' 'words[k] ^= 0;'
mutate "the last panel stores past its rows" gemm/streamed_product.hpp 'if (end - row >= 16)' 'if (end - row >= 15)'
mutate "a last panel taken for a whole tile" gemm/product_tasks.hpp 'std::min(height, rows - row), y_' 'height, y_'
mutate "a part of the columns starts from zero" gemm/product_tasks.hpp 'g > 0' 'false'
mutate "a part of plain numbers starts from zero" gemm/float_tile.hpp 'panel_stride, k > 0,' 'panel_stride, false,'
mutate "rows of a block become columns of another" gemm/transpose.hpp 'to + c * to_stride + r' 'to + c * to_stride + (r ^ 4)'
if grep -qw amx_int8 /proc/cpuinfo; then
  mutate "a tile product of the group behind" gemm/matrix_tile.hpp 'begin(tile, g + 2)' 'begin(tile, g + 3)'
  mutate "the last codes of an odd row of tiles" gemm/matrix_tile.hpp 'if (groups % 2 != 0)' 'if (false)'
fi
mutate "the code behind the last one of an odd row" gemm/activation_group.hpp 'length % 32 <= 16' 'length % 32 < 16'
mutate "the scale of a row's neighbour" gemm/channel_tasks.hpp 'w_->scales + row' 'w_->scales + (row == 0 ? 0 : row - 1)'
mutate "a tile takes the vector beside its own" gemm/activations.hpp 'values_ + (first + c) * length_' 'values_ + (first + (c + 1) % N) * length_'
rooms=model
mutate "values read where keys are" model/kv_cache.hpp 'block(locate(layer, 1, head, first + t), d, n)' 'block(locate(layer, 0, head, first + t), d, n)'
mutate "keys one token late" model/kv_cache.hpp 'block.elements[(first + i) * n + t] = elements[i];' 'block.elements[(first + i) * n + (t + 1) % n] = elements[i];'
mutate "older sums are not rescaled" gemm/attention.hpp 'state.sum = state.sum * factor' 'state.sum = state.sum'
mutate "a token sees the next" gemm/attention.hpp '(1u << (end - i)) - 1' '(2u << (end - i)) - 1'
mutate "a term of the exponential missing" kernel/exponential.hpp '1.0f / 24, ' ''
mutate "a token does not see itself" model/head_attention.hpp 'std::min(tile, position + 1 - begin)' 'std::min(tile, std::max<std::size_t>(1, position - begin))'
mutate "the second part of a long prompt attends as the first" model/transformer_attention.hpp 'const std::size_t first = task / shape.kv_heads * part;' 'const std::size_t first = task / shape.kv_heads * part * (count <= 200);'
mutate "the second chunk of a prompt begins at 0" model/transformer.hpp 'run_layers(tokens.subspan(i, count), start + i, sequence);' 'run_layers(tokens.subspan(i, count), start, sequence);'
mutate "each token scored by the logits behind it" model/evaluate.hpp 'static_cast<std::size_t>(tokens[at + i + 1])' 'static_cast<std::size_t>(tokens[at + i])'
mutate "logits compared with those of the next piece" model/evaluate.hpp '.subspan(i * vocabulary, vocabulary);' '.subspan((i + 1) % 16 * vocabulary, vocabulary);'
mutate "RoPE turns the wrong way" model/rope.hpp 'a = x * cosine - y * sine;' 'a = x * cosine + y * sine;'

mutate "YaRN keeps every frequency" model/rope.hpp 'kept + (1 - kept) / rope.yarn->factor' 'kept * 0 + 1'
mutate "a window one token too wide" model/head_attention.hpp 'position + 1 - heads.window' 'position - heads.window'
mutate "tokens before a window are seen" gemm/attention.hpp '& ~below(seen.begin, i)' ''
mutate "no soft cap of scores" gemm/attention.hpp 'if (cap != 0)' 'if (false)'
mutate "sublayers are added whole" model/transformer.hpp 'add_scaled(shape_.residual_scale,' 'add_scaled(1.0f,'
mutate "logits are not divided" model/transformer.hpp 'shape_.logit_divisor != 1' 'false'
mutate "layers with a window turn as the others" model/transformer_attention.hpp 'shape.window != 0 ? local_angles_ : angles_' 'angles_'
mutate "every layer has RoPE" model/transformer_attention.hpp 'shape.has_rope ?' 'true ?'
mutate "the halves of a head are one apart" model/rope.hpp 'i + pairs]' 'i + pairs - 1]'
mutate "weights of experts do not add up" model/expert_routes.hpp 'routes[i].weight /= sum' '(void)sum'
mutate "the bias of the first expert for all" model/transformer_experts.hpp 'subspan(index * rows, rows)' 'subspan(0, rows)'
mutate "sinks take no part" model/head_attention.hpp 'heads.sinks != nullptr && r' 'false && r'
mutate "long factors one token early" model/weights.hpp 'tokens > shape_.original_context' 'tokens >= shape_.original_context'
mutate "keys are turned and queries are not" model/transformer_attention.hpp 'turn_heads(queries, shape.heads);' ''
mutate "values are turned and not turned back" model/transformer_attention.hpp 'turn_heads(mixed_.data() + token' 'if (count == 0) turn_heads(mixed_.data() + token'
mutate "4-bit keys share the first scale" model/kv_head.hpp 'block.scales + g * tokens + at' 'block.scales + at'
mutate "gradients of norms without their second term" model/gradient_formulas.hpp ' - x[i] * projection' ''
mutate "gradients of attention without the sum of its softmax" model/backward_attention.hpp '(score_gradient.row(t).array() - mean)' 'score_gradient.row(t).array()'
mutate "gradients pass a cap unchanged" model/backward_attention.hpp 'score_gradient.array() *=' '(void)'
mutate "gradients of routes without the sum of their softmax" model/backward_feed_forward.hpp '(weight_gradient.row(i).array() - mean)' 'weight_gradient.row(i).array()'
mutate "the most likely label in place of a drawn one" model/label_loss.hpp 'if (left < own) break;' 'if (own == p.maxCoeff()) break;'
mutate "norms of Gemma stay less one" model/checkpoint_tensors.hpp 'x += 1;' 'x += 0;'
mutate "experts in the order of others" model/model_source.hpp 'stack[row / rows]' 'stack[stack.size() - 1 - row / rows]'
mutate "the first half of a chunk is scored too" model/evaluate.hpp 'header.context / 2}' '0}'
mutate "codes of log probabilities are cut off" io/logit_file.hpp 'std::nearbyint(' 'std::trunc('
mutate "too many rows of the output left out" model/logit_loss.hpp 'constexpr double left_out = 0x1p-10;' 'constexpr double left_out = 0x1p-3;'
mutate "queries keep the keys of others" model/cut.hpp 'add(kept.kv_heads, d, 0);' 'add(whole_layer(shape).kv_heads, d, 0);'
mutate "columns are cut as rows are not" model/cut.hpp 'left[c] = values[columns[c]];' 'left[c] = values[c];'
mutate "a choice goes on where the last one ended" model/task.hpp 'std::min({shared, sequence_.size(), first - 1})' 'std::min(sequence_.size(), first - 1)'
rooms=metric
mutate "one side of McNemar's test" metric/proportion.hpp 'std::min(1.0, 2 * sum)' 'std::min(1.0, sum)'
rooms=plan
mutate "each token of a sequence squared alone" plan/fisher_visitor.hpp '1 / std::sqrt(static_cast<double>(sequences_[sequence].size()))' '1.0'
mutate "a tied embedding pays for one use" plan/fisher_visitor.hpp 'sum += double{rounded[c] - exact[c]}' 'sum += 0 * double{rounded[c] - exact[c]}'
mutate "rows of the output mixed up" plan/fisher_visitor.hpp '[&](std::size_t i) { return g.row(i); }' '[&](std::size_t i) { return i; }'
rooms=compress
mutate "all tokens count alike in a Gram matrix" compress/residual_compensation.hpp 'if (!w.empty())' 'if (false)'
mutate "experts all in the codes of the first" compress/expert_encoding.hpp 'static_cast<std::ptrdiff_t>(expert * t.bytes.size())' 'static_cast<std::ptrdiff_t>(0 * t.bytes.size())'
mutate "the whole fused matrix feeds the writer" model/sublayer_matrices.hpp 'return readers.back()->view.rows - feeding_rows;' 'return 0;'
mutate "what is added is compensated whole" compress/residual_compensation.hpp 'original.weights().shape().residual_scale' '1.0f'
mutate "tokens before a norm count alike" compress/residual_compensation.hpp 'x *= weights.asDiagonal();' ''
mutate "tuning keeps its last step" compress/tuning.hpp 'parameters_.restore(best_);' ''
mutate "one sequence outweighs all others" compress/tuned_parameters.hpp 'most_times_median = 2;' 'most_times_median = 1e9;'
mutate "a tied embedding is pushed twice" compress/tuned_parameters.hpp 'output_is_done_ = true;' ''
mutate "codes promise what they like" compress/tuned_parameters.hpp 'own > left || own > most_by_one * all' 'false'
mutate "columns that stay take over nothing" compress/column_removal.hpp 'squares -= 2 * b.col(held).cwiseProduct(own);' ''
mutate "the refit follows the wrong layer" compress/refit.hpp '< places_[next])' '< places_[next] - 1)'
mutate "skipped sublayers count from zero" compress/layer_removal.hpp 'skipped_.contains(p) || more.contains(p)' 'more.contains(p)'
mutate "changes of several sublayers are squared alone" compress/layer_removal.hpp 'sum[i] += changes[i];' 'sum[i] = changes[i];'
mutate "the largest increase is removed" compress/layer_removal.hpp 'increase < least_increase' 'increase > least_increase'
rooms=train
mutate "a student keeps its last step" train/distillation.hpp 'trained_.set_values(best_);' ''
mutate "a student climbs" train/distillation.hpp 'options_.from_text_alone ? -rate : rate' 'options_.from_text_alone ? rate : -rate'
mutate "gradients of experts all go to the first" train/trained_weights.hpp 'static_cast<Eigen::Index>(g.first_row), gradient.rows()) +=' '0, gradient.rows()) +='
mutate "a minimum learns with the wrong sign" train/stored_factors.hpp 'minimum -= alone' 'minimum += alone'
mutate "codes follow gradients" train/code_moves.hpp 'scale < 0 ? push : -push' 'scale < 0 ? -push : push'
mutate "the divergence of the reference from the model" train/divergence_loss.hpp 't.divergence = p.dot(difference)' 't.divergence = q.dot(difference)'
mutate "steps as long as they like" train/adam.hpp 'if (decrease > most_decrease) rate' 'if (false) rate'

echo "$missed defects that no test noticed"
[ "$missed" -eq 0 ]
