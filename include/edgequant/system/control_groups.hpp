// SPDX-License-Identifier: MIT
/// The control groups that this process is in, for the limits that containers and services set.
#pragma once

#include "../config.hpp"

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace edgequant::inline EDGEQUANT_ABI {

/// A folder of the control groups' file system whose limits hold for this process.
struct control_group {
  std::string folder;
  int version = 2; ///< 1 or 2: their files have other names
};

/// The process's groups that `controller` ("cpu", "memory") may limit, each followed by the groups
/// around it as far as they can be seen. `process` is the process's folder in /proc, with the files
/// `cgroup` and `mountinfo`. Empty where the system has no control groups. Source: cgroups(7) and
/// proc_pid_mountinfo(5).
[[nodiscard]] std::vector<control_group>
control_groups_of(std::string_view controller, const std::string& process = "/proc/self");

namespace system::detail {

[[nodiscard]] inline bool list_has(std::string_view list, std::string_view name) noexcept {
  while (!list.empty()) {
    const auto item = list.substr(0, list.find(','));
    if (item == name) return true;
    list.remove_prefix(std::min(item.size() + 1, list.size()));
  }
  return false;
}

/// A path of mountinfo: space, tab, line end and backslash are there as \040 and so on.
[[nodiscard]] inline std::string mount_path(std::string_view text) {
  const auto digit = [&](std::size_t i) {
    return i < text.size() && text[i] >= '0' && text[i] < '8';
  };
  std::string path;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] == '\\' && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
      path += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                (text[i + 3] - '0'));
      i += 3;
    } else {
      path += text[i];
    }
  return path;
}

/// Where a hierarchy of groups can be seen: `root` is the group that `folder` shows.
struct control_group_mount {
  std::string root, folder;
  int version = 0; ///< 0: no hierarchy of the controller
};

/// Of a line `ID PARENT DEVICE ROOT FOLDER OPTIONS [TAGS...] - TYPE SOURCE SUPER_OPTIONS`.
[[nodiscard]] inline control_group_mount read_mount(const std::string& line,
                                                    std::string_view controller) {
  std::istringstream words(line);
  const std::vector<std::string> parts{std::istream_iterator<std::string>(words), {}};
  const auto dash = std::find(parts.begin(), parts.end(), "-");
  if (parts.size() < 6 || parts.end() - dash < 4) return {};
  const int version = dash[1] == "cgroup2" ? 2 : 1;
  if (version == 1 && (dash[1] != "cgroup" || !list_has(dash[3], controller))) return {};
  return {mount_path(parts[3]), mount_path(parts[4]), version};
}

/// The group's path in its hierarchy; empty where the process is in none.
[[nodiscard]] inline std::string group_path(const std::string& process, std::string_view controller,
                                            int version) {
  std::ifstream groups(process + "/cgroup"); // lines ID:CONTROLLERS:PATH; of version 2 0::PATH
  for (std::string line; std::getline(groups, line);) {
    const auto first = std::min(line.find(':'), line.size());
    const auto second = line.find(':', first + 1);
    if (second == line.npos) continue;
    const auto list = std::string_view(line).substr(first + 1, second - first - 1);
    if (version == 2 ? list.empty() : list_has(list, controller)) return line.substr(second + 1);
  }
  return {};
}

/// The part of the group's path below the group that is mounted. Empty where it lies elsewhere, as
/// in a container that sees its own group only: the mounted one is then the nearest known.
[[nodiscard]] inline std::string path_below(std::string path, const std::string& root) {
  if (path.find("/..") != path.npos) return {};
  if (root != "/") {
    const bool below =
        path.starts_with(root) && (path.size() == root.size() || path[root.size()] == '/');
    path = below ? path.substr(root.size()) : "";
  }
  while (!path.empty() && path.back() == '/') path.pop_back();
  return path;
}

} // namespace system::detail

inline std::vector<control_group> control_groups_of(std::string_view controller,
                                                    const std::string& process) {
  std::vector<control_group> groups;
  std::ifstream mounts(process + "/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    const auto mount = system::detail::read_mount(line, controller);
    if (mount.version == 0) continue;
    std::string path = system::detail::group_path(process, controller, mount.version);
    if (path.empty()) continue;
    for (path = system::detail::path_below(path, mount.root);; path.erase(path.rfind('/'))) {
      groups.push_back({mount.folder + path, mount.version});
      if (path.find('/') == path.npos) break;
    }
  }
  return groups;
}

} // namespace edgequant::inline EDGEQUANT_ABI
