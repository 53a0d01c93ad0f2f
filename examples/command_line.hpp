// SPDX-License-Identifier: MIT
/// What the example programs share: help, and errors as one line.
#pragma once

#include <edgequant/io/bytes.hpp>

#include <CLI/CLI.hpp>

#include <iostream>

/// Parses the command line and calls run(). Returns the exit status: 0, or 1 after one line on
/// stderr.
template <class Run>
int run_command(CLI::App& app, const char* name, int argc, char** argv, Run&& run) {
  try {
    app.parse(argc, argv);
    run();
    if (!std::cout.flush())
      edgequant::fail(edgequant::error_code::io_error, "standard output", "cannot write");
    return 0;
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const std::exception& error) {
    // One line, whatever the arguments held.
    std::cerr << name << ": " << edgequant::place_of(error.what()) << '\n';
    return 1;
  }
}
