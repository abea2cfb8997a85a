# cmake --install: programs, the library with header and CMake package, the example and the documents; cpack:
# a .deb. The library is one shared object that exports only the public header's classes, so that programs
# need to link nothing else.
include(CMakePackageConfigHelpers)

install(TARGETS glow EXPORT glow LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/glow/glow.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/glow)
get_property(programs GLOBAL PROPERTY glow_tools)
install(TARGETS ${programs} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS glow_hdf5_probe RUNTIME DESTINATION libexec/glow)
install(PROGRAMS ${CMAKE_BINARY_DIR}/bin/glow_convert DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY examples/ DESTINATION ${CMAKE_INSTALL_DATADIR}/glow/examples)
# Of examples/glow_torch.py and glow_memory --plot.
install(FILES tools/output_files.py tools/plot_memory.py tools/python_packages.py tools/script_text.py DESTINATION ${CMAKE_INSTALL_DATADIR}/glow/tools)
install(FILES README.md CHANGELOG.md CONTRIBUTING.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/glow)
install(EXPORT glow NAMESPACE glow:: DESTINATION ${package} FILE glow-targets.cmake)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/glow-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_LIST_DIR}/glow-config.cmake ${CMAKE_BINARY_DIR}/glow-config-version.cmake DESTINATION ${package})

# API reference of the public header, if Doxygen is available: cmake --build ... --target reference.
find_package(Doxygen QUIET)
if(DOXYGEN_FOUND)
    set(DOXYGEN_PROJECT_NAME Glow)
    set(DOXYGEN_PROJECT_NUMBER ${PROJECT_VERSION})
    set(DOXYGEN_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/reference)
    set(DOXYGEN_EXTRACT_ALL NO)
    set(DOXYGEN_WARN_IF_UNDOCUMENTED YES)
    set(DOXYGEN_WARN_AS_ERROR YES)
    set(DOXYGEN_QUIET YES)
    set(DOXYGEN_GENERATE_LATEX NO)
    set(DOXYGEN_EXAMPLE_PATH ${PROJECT_SOURCE_DIR}/examples)
    set(DOXYGEN_STRIP_FROM_INC_PATH ${PROJECT_SOURCE_DIR}/include)
    doxygen_add_docs(reference ${PROJECT_SOURCE_DIR}/include/glow/glow.h COMMENT "Writing the reference")
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME glow)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "The Glow project <glow@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Training of invertible flows: exact likelihoods, samples and latents of images")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# For glow_convert and the plotting scripts; the compiler is for the example, onnx for glow_convert --to onnx.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "python3-numpy, python3-h5py")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "g++, cmake, python3-onnx")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
include(CPack)
