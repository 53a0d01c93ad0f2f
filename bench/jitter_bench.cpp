// SPDX-License-Identifier: MIT
// Latency of a token on a machine that is busy: with and without pinning and priority.
//   edgequant_jitter_bench MODEL.gguf [tokens=100] [threads=1] [busy=2] [rounds=5]
// `busy` processes spin meanwhile. Each round runs every setting once, each in a process of its own
// since threads keep what they inherit; medians of the rounds are printed.
#include <edgequant/run/pipeline.hpp>
#include <edgequant/run/reference_engine.hpp>

#include <cstdio>
#include <cstdlib>
#include <iostream>

#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

namespace eq = edgequant;

namespace {

struct setting {
  const char* name;
  bool busy, pinned;
  int priority;
};

constexpr setting settings[] = {{"alone", false, false, 0},
                                {"busy", true, false, 0},
                                {"busy, pinned", true, true, 0},
                                {"busy, priority 20", true, false, 20},
                                {"busy, pinned, priority 20", true, true, 20}};

/// What a measuring process sends back.
struct measurement {
  double p50, p99;
  char note[200];
};

/// Processes that do nothing but use the processor, for as long as this object lives.
class busy_processes {
public:
  explicit busy_processes(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      const pid_t pid = fork();
      if (pid == 0)
        for (volatile unsigned n = 0;;) n = n + 1;
      if (pid > 0) pids_.push_back(pid);
    }
  }
  ~busy_processes() {
    for (const pid_t pid : pids_) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
  }
  busy_processes(const busy_processes&) = delete;
  busy_processes& operator=(const busy_processes&) = delete;

private:
  std::vector<pid_t> pids_;
};

measurement infer(const char* model, std::size_t tokens, unsigned threads, const setting& s) {
  eq::pipeline_options options{.model = model, .threads = threads, .priority = s.priority};
  if (s.pinned)
    for (unsigned core = 0; core < threads; ++core) options.cores.push_back(static_cast<int>(core));
  eq::inference_pipeline pipeline(eq::reference_engine({.threads = threads}), options);
  (void)pipeline.load_model();
  pipeline.warmup(1);
  const auto report = pipeline.infer("Once upon a time", tokens);
  measurement m{report.latency.p50, report.latency.p99, {}};
  report.scheduling_note.copy(m.note, sizeof m.note - 1);
  return m;
}

/// Measures in a process of its own, which sends its result through a pipe.
measurement measure(const char* model, std::size_t tokens, unsigned threads, const setting& s) {
  int ends[2];
  if (pipe(ends) != 0) eq::fail(eq::error_code::io_error, "pipe", "cannot be made");
  if (fork() == 0) {
    try {
      const auto m = infer(model, tokens, threads, s);
      _exit(write(ends[1], &m, sizeof m) == sizeof m ? 0 : 1);
    } catch (const std::exception& error) {
      std::cerr << error.what() << '\n';
      _exit(1);
    }
  }
  close(ends[1]);
  measurement m{};
  const bool whole = read(ends[0], &m, sizeof m) == sizeof m;
  close(ends[0]);
  wait(nullptr);
  if (!whole) eq::fail(eq::error_code::bad_argument, s.name, "the measurement failed");
  return m;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void run(int argc, char** argv) {
  const auto argument = [&](int i, std::size_t otherwise) {
    return argc > i ? std::max<std::size_t>(1, std::strtoul(argv[i], nullptr, 10)) : otherwise;
  };
  const std::size_t tokens = argument(2, 100), busy = argument(4, 2), rounds = argument(5, 5);
  const auto threads = static_cast<unsigned>(argument(3, 1));
  std::vector<double> p50[std::size(settings)], p99[std::size(settings)];
  std::string notes[std::size(settings)];
  for (std::size_t round = 0; round < rounds; ++round)
    for (std::size_t i = 0; i < std::size(settings); ++i) {
      const busy_processes others(settings[i].busy ? busy : 0);
      const auto m = measure(argv[1], tokens, threads, settings[i]);
      p50[i].push_back(m.p50), p99[i].push_back(m.p99), notes[i] = m.note;
    }
  std::printf("latency of a token, %u thread%s, %zu busy processes: p50 and p99 in ms\n", threads,
              threads == 1 ? "" : "s", busy);
  for (std::size_t i = 0; i < std::size(settings); ++i)
    std::printf("%-26s %8.2f %8.2f  %s\n", settings[i].name, median(p50[i]), median(p99[i]),
                notes[i].c_str());
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 6) {
    std::cerr << "usage: " << argv[0] << " MODEL.gguf [tokens] [threads] [busy] [rounds]\n";
    return 2;
  }
  try {
    run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << argv[0] << ": " << error.what() << '\n';
    return 1;
  }
}
