// SPDX-License-Identifier: MIT
#include "model/toy_model.hpp"

#include <edgequant/metric/logits.hpp>
#include <edgequant/train/divergence_loss.hpp>

namespace {
using namespace model_test;
using eq::matrix_f;

class divergence_losses : public testing::Test {
protected:
  temporary_folder folder;
  std::vector<std::vector<std::int32_t>> texts{{1, 5, 7, 9}, {1, 3, 2}};

  eq::model_weights open(float scale = 1) {
    toy_options o;
    o.own_output = true;
    o.change_tensor = [scale](eq::tensor_info& t, std::vector<float>& values) {
      if (t.name == "output.weight")
        for (float& v : values) v *= scale;
      return true;
    };
    write_toy(folder / "toy.gguf", o);
    return eq::model_weights(eq::read_gguf(folder / "toy.gguf"));
  }
};

// Against what metric/ says of the same logits, and finite differences of it.
TEST_F(divergence_losses, value_and_gradient_are_those_of_the_divergence) {
  const auto weights = open();
  eq::kept_predictions<> reference(weights, texts, 1);
  eq::divergence_loss<> loss(reference, 1, 1); // its sequence 0 is the second one
  matrix_f logits = matrix_f::Random(2, 40) * 2, gradient;
  const auto rows = loss.set_gradients(0, 1, logits, gradient);
  const matrix_f wanted = reference.logits(1, 1, 2);
  const auto divergence = [&](Eigen::Index t, const matrix_f& l) {
    return eq::kl_divergence({wanted.row(t).data(), 40}, {l.row(t).data(), 40});
  };
  EXPECT_EQ(loss.tokens(), 2u);
  EXPECT_NEAR(loss.sum(), divergence(0, logits) + divergence(1, logits), 1e-5);
  for (Eigen::Index t = 0; t < 2; ++t)
    for (std::size_t k = 0; k < rows.size(); ++k) {
      matrix_f up = logits, down = logits;
      const auto row = static_cast<Eigen::Index>(rows[k]);
      up(t, row) += 0.01f, down(t, row) -= 0.01f;
      EXPECT_NEAR(double{gradient(t, static_cast<Eigen::Index>(k))},
                  (divergence(t, up) - divergence(t, down)) / double{up(t, row) - down(t, row)},
                  2e-4);
    }
}

TEST_F(divergence_losses, a_model_is_at_no_distance_from_itself) {
  const auto weights = open();
  eq::kept_predictions<> reference(weights, texts, 1);
  EXPECT_NEAR(eq::mean_divergence(weights, reference, texts, 0, 1), 0, 1e-9);
  const auto other = open(2);
  EXPECT_GT(eq::mean_divergence(other, reference, texts, 0, 1), 1e-3);
}

} // namespace
