// SPDX-License-Identifier: MIT
#include "io/support.hpp"

#include <edgequant/system/cpu_count.hpp>
#include <edgequant/system/parallel_for.hpp>
#include <edgequant/system/scheduling.hpp>
#include <edgequant/system/system_memory.hpp>

namespace {
using namespace io_test;
namespace fs = std::filesystem;

/// A process's folder of /proc and its control groups' file systems.
class made_system {
public:
  /// A hierarchy whose group `root` is seen at /NAME; controllers: of version 1.
  void mount(const std::string& name, const std::string& root,
             const std::string& controllers = "") {
    const bool v2 = controllers.empty();
    std::string folder = (folder_ / name).string();
    for (std::size_t at; (at = folder.find(' ')) != folder.npos;) folder.replace(at, 1, "\\040");
    mounts_ += "31 23 0:28 " + root + " " + folder + " rw,relatime shared:9 - " +
               (v2 ? "cgroup2 cgroup2 rw" : "cgroup cgroup rw," + controllers) + "\n";
    fs::create_directories(folder_ / name);
  }
  void set(const std::string& path, std::string_view text) {
    fs::create_directories((folder_ / path).parent_path());
    write_all(folder_ / path, text);
  }
  std::string process(std::string_view groups) {
    set("proc/cgroup", groups);
    set("proc/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\nnonsense\n" + mounts_);
    return (folder_ / "proc").string();
  }

private:
  temporary_folder folder_;
  std::string mounts_;
};

constexpr auto none = std::numeric_limits<unsigned>::max();

TEST(cpu_quota, of_version_2_is_rounded_up) {
  made_system system;
  system.mount("cg", "/");
  const auto process = system.process("0::/a/b\n");
  EXPECT_EQ(eq::cpu_quota(process), none); // no file
  for (const auto& [text, cpus] :
       std::vector<std::pair<const char*, unsigned>>{{"max 100000\n", none},
                                                     {"100000 100000\n", 1},
                                                     {"150000 100000\n", 2},
                                                     {"1000 100000\n", 1},
                                                     {"400000 200000\n", 2},
                                                     {"", none},
                                                     {"50000 0\n", none}}) {
    system.set("cg/a/b/cpu.max", text);
    EXPECT_EQ(eq::cpu_quota(process), cpus) << text;
  }
}

TEST(cpu_quota, is_the_least_of_the_group_and_its_parents) {
  made_system system;
  system.mount("cg", "/");
  system.set("cg/a/b/cpu.max", "max 100000\n");
  system.set("cg/a/cpu.max", "300000 100000\n");
  system.set("cg/other/cpu.max", "100000 100000\n");
  EXPECT_EQ(eq::cpu_quota(system.process("0::/a/b\n")), 3u);
  system.set("cg/a/b/cpu.max", "200000 100000\n");
  EXPECT_EQ(eq::cpu_quota(system.process("0::/a/b\n")), 2u);
  EXPECT_EQ(eq::cpu_quota(system.process("0::/\n")), none);
}

TEST(cpu_quota, of_version_1_with_its_own_period) {
  made_system system;
  system.mount("cpu,cpuacct", "/", "cpu,cpuacct");
  system.mount("memory", "/", "memory");
  const auto process = system.process("5:cpu,cpuacct:/a\n4:memory:/m\n");
  system.set("cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(eq::cpu_quota(process), none);
  system.set("cpu,cpuacct/a/cpu.cfs_quota_us", "250000\n");
  EXPECT_EQ(eq::cpu_quota(process), 3u); // the default period
  system.set("cpu,cpuacct/a/cpu.cfs_period_us", "50000\n");
  EXPECT_EQ(eq::cpu_quota(process), 5u);
  system.set("cpu,cpuacct/cpu.cfs_quota_us", "100000\n");
  EXPECT_EQ(eq::cpu_quota(process), 1u);
}

TEST(cpu_quota, seen_from_a_container) {
  made_system system; // which sees its own group as the root of a folder
  system.mount("a folder", "/docker/abc");
  system.set("a folder/cpu.max", "200000 100000\n");
  EXPECT_EQ(eq::cpu_quota(system.process("0::/docker/abc\n")), 2u);
  EXPECT_EQ(eq::cpu_quota(system.process("0::/docker/abcd\n")), 2u);
  EXPECT_EQ(eq::cpu_quota(system.process("0::/../elsewhere\n")), 2u);
  system.set("a folder/x/cpu.max", "100000 100000\n");
  EXPECT_EQ(eq::cpu_quota(system.process("0::/docker/abc/x\n")), 1u);
}

TEST(cpu_quota, of_both_versions_together) {
  made_system system;
  system.mount("unified", "/");
  system.mount("cpu", "/", "cpu");
  system.set("cpu/a/cpu.cfs_quota_us", "200000");
  system.set("unified/b/cpu.max", "400000 100000");
  EXPECT_EQ(eq::cpu_quota(system.process("1:cpu:/a\n0::/b\n")), 2u);
  EXPECT_EQ(eq::cpu_quota(system.process("1:cpuset:/a\n0::/b\n")), 4u);
}

TEST(cpu_quota, none_where_there_are_no_control_groups) {
  temporary_folder folder;
  EXPECT_EQ(eq::cpu_quota(folder.path.string()), none);
  made_system system;
  EXPECT_EQ(eq::cpu_quota(system.process("")), none);
}

TEST(system_memory, limits_are_those_of_the_same_groups) {
  made_system system;
  system.mount("memory", "/", "memory");
  system.mount("unified", "/");
  const auto process = system.process("4:memory:/m/n\n0::/u\n");
  EXPECT_EQ(eq::system::detail::control_groups_limit(process), eq::system::detail::no_limit);
  system.set("memory/m/n/memory.limit_in_bytes", "5000\n");
  system.set("memory/m/memory.limit_in_bytes", "4000\n");
  EXPECT_EQ(eq::system::detail::control_groups_limit(process), 4000u);
  system.set("unified/u/memory.max", "max\n");
  EXPECT_EQ(eq::system::detail::control_groups_limit(process), 4000u);
  system.set("unified/memory.max", "3000\n");
  EXPECT_EQ(eq::system::detail::control_groups_limit(process), 3000u);
}

TEST(available_cpus, follow_the_affinity_of_the_thread) {
  const unsigned before = eq::available_cpus();
  EXPECT_LE(before, eq::affinity_cpus());
#if defined(__linux__)
  cpu_set_t set;
  ASSERT_EQ(::sched_getaffinity(0, sizeof set, &set), 0);
  int core = 0;
  while (!CPU_ISSET(static_cast<std::size_t>(core), &set)) ++core;
  {
    const eq::thread_scheduling pinned({&core, 1}, 0);
    EXPECT_EQ(eq::available_cpus(), 1u);
    EXPECT_EQ(eq::thread_count(0), 1u);
#if defined(_OPENMP)
    EXPECT_EQ(eq::thread_count(3), 3u); // what is asked for by number is given
#endif
  }
  EXPECT_EQ(eq::available_cpus(), before);
#endif
}
} // namespace
