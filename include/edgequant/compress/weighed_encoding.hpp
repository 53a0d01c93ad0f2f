// SPDX-License-Identifier: MIT
/// One matrix into its format, by what its inputs and the loss say of its errors.
#pragma once

#include "../plan/format_plan.hpp"
#include "../quantizer/gptq.hpp"
#include "../quantizer/matrix_codec.hpp"
#include "../quantizer/output_error.hpp"
#include "encoded_tensors.hpp"
#include "loss_weights.hpp"

namespace edgequant::inline EDGEQUANT_ABI {

/// How the matrices of a layer are rounded.
struct layer_method {
  bool awq = false;  ///< columns are scaled first; norms, v and up, with their biases, take
                     ///< the scales over
  bool gptq = false; ///< columns make up for each other's errors; else the mse rule alone
  /// Each matrix, in whatever format, aims at what the original gives on the original's inputs;
  /// else at what it gives itself on those that the encoded model has.
  bool compensate = true;
  /// With gptq: tokens count by what the loss says of them, see loss_weights; and the embedding and
  /// the output matrix are encoded by GPTQ too.
  bool guided = true;
  gptq_options options = {};
};

namespace compression::detail {

/// A matrix with what it is to be and how its errors are weighed, encoded.
template <class = void>
[[nodiscard]] encoded_tensors::tensor
encode_weighed(format type, const matrix_f& m, const Eigen::MatrixXd& gram,
               const gptq_columns* columns, const layer_method& method, const std::string& name) {
  const unsigned threads = method.options.threads;
  std::vector<std::byte> bytes;
  if (columns != nullptr)
    bytes = gptq_matrix(type, m, *columns, method.options, name);
  else
    bytes = encode_matrix(type, scale_rule::mse, m, name, threads);
  const double error =
      output_error(m,
                   decode_matrix(type, bytes.data(), static_cast<std::size_t>(m.rows()),
                                 static_cast<std::size_t>(m.cols()), threads),
                   gram, threads);
  return {type, std::move(bytes), error};
}

} // namespace compression::detail

} // namespace edgequant::inline EDGEQUANT_ABI
