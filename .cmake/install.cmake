# Headers, the package that find_package(edgequant) reads, and edgequant.pc. The installed tree may
# be moved: nothing in it names the prefix.
include(CMakePackageConfigHelpers)
set(package ${CMAKE_INSTALL_DATADIR}/cmake/edgequant)
set(generated ${PROJECT_BINARY_DIR}/install)
file(RELATIVE_PATH include_from_pc ${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig ${CMAKE_INSTALL_FULL_INCLUDEDIR})

file(CONFIGURE OUTPUT ${generated}/edgequantConfig.cmake @ONLY CONTENT [[
include(CMakeFindDependencyMacro)
find_dependency(Eigen3 3.4 NO_MODULE)
find_dependency(nlohmann_json 3.9)
include(${CMAKE_CURRENT_LIST_DIR}/edgequantTargets.cmake)
]])
write_basic_package_version_file(${generated}/edgequantConfigVersion.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
file(CONFIGURE OUTPUT ${generated}/edgequant.pc @ONLY CONTENT [[
includedir=${pcfiledir}/@include_from_pc@

Name: edgequant
Description: @PROJECT_DESCRIPTION@
Version: @PROJECT_VERSION@
Requires: eigen3 >= 3.4, nlohmann_json >= 3.9
Cflags: -I${includedir}
]])

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/edgequant DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/licenses/edgequant)
install(TARGETS edgequant EXPORT edgequantTargets)
install(EXPORT edgequantTargets NAMESPACE edgequant:: DESTINATION ${package})
install(FILES ${generated}/edgequantConfig.cmake ${generated}/edgequantConfigVersion.cmake DESTINATION ${package})
install(FILES ${generated}/edgequant.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
