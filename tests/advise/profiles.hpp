// SPDX-License-Identifier: MIT
/// Devices and engines for the tests of scoring.
#pragma once

#include <edgequant/advise/engine_profile.hpp>

#include <gtest/gtest.h>

namespace deploy_test {
namespace eq = edgequant;

/// A phone with NPU, GPU and 8 GiB.
inline eq::device_profile phone() {
  eq::device_profile device;
  device.name = "Test phone";
  device.chip = "Qualcomm SM8650";
  device.platforms = {eq::platform::android};
  device.ram_mib = 8192;
  device.isa = {"neon", "dotprod", "i8mm"};
  device.gpu = "Adreno 750";
  device.npu = eq::npu_profile{.name = "Hexagon HTP v75", .vendor = "qualcomm"};
  return device;
}

/// A board with a plain CPU.
inline eq::device_profile board() {
  eq::device_profile device;
  device.name = "Test board";
  device.platforms = {eq::platform::gnu_linux};
  device.ram_mib = 4096;
  device.isa = {"neon", "dotprod"};
  return device;
}

inline eq::engine_profile small_engine(std::string name) {
  eq::engine_profile engine;
  engine.name = std::move(name);
  engine.platforms = {eq::platform::android, eq::platform::gnu_linux};
  engine.precisions = {eq::precision::fp16, eq::precision::int8, eq::precision::int4};
  engine.cpu_isas = {"neon"};
  return engine;
}

/// Whether one of the texts has `part`.
inline testing::AssertionResult says(const std::vector<std::string>& texts, std::string_view part) {
  for (const auto& text : texts)
    if (text.find(part) != text.npos) return testing::AssertionSuccess();
  auto result = testing::AssertionFailure() << "'" << part << "' is in none of:";
  for (const auto& text : texts) result << "\n  " << text;
  return result;
}

} // namespace deploy_test
