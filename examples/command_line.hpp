// SPDX-License-Identifier: MIT
/// What the example programs share: help, errors as one line, and a clean end by signals.
#pragma once

#include <edgequant/core/message.hpp>
#include <edgequant/io/bytes.hpp>
#include <edgequant/system/progress_bar.hpp>
#include <edgequant/system/signals.hpp>

#include <CLI/CLI.hpp>

#include <iostream>

/// The whole main(): describes the options of `Arguments` to a parser, parses, and runs. Returns
/// the exit status: 0, or 1 after one line on stderr.
template <class Arguments>
int run_command(const char* name, void (*describe)(CLI::App&, Arguments&),
                void (*run)(const Arguments&), int argc, char** argv) {
  edgequant::end_cleanly_on_signals(name);
  CLI::App app;
  Arguments arguments;
  describe(app, arguments);
  try {
    app.parse(argc, argv);
    run(arguments);
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
