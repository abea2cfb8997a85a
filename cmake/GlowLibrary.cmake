# Headers that most sources of the libraries include, precompiled.
function(glow_library_headers)
    file(GENERATE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/library_headers.cpp CONTENT "")
    add_library(glow_library_headers OBJECT EXCLUDE_FROM_ALL ${CMAKE_CURRENT_BINARY_DIR}/library_headers.cpp)
    glow_target_flags(glow_library_headers)
    target_link_libraries(glow_library_headers PRIVATE fmt::fmt nlohmann_json::nlohmann_json OpenMP::OpenMP_CXX)
    glow_precompile(glow_library_headers <algorithm> <cmath> <filesystem> <fmt/format.h> <fstream> <functional> <memory>
        <nlohmann/json.hpp> <optional> <string> <vector>)
endfunction()

# glow_library(NAME SOURCES ... [LINK libraries...] [HOST_ONLY] [DOUBLE]): the static library of one folder. Its .cu files
# are compiled by nvcc if CUDA is available, otherwise, and always with HOST_ONLY, by the C++ compiler. DOUBLE: real is
# double, for gradient checks.
function(glow_library name)
    cmake_parse_arguments(ARG "HOST_ONLY;DOUBLE" "" "SOURCES;LINK" ${ARGN})
    set(cuda OFF)
    if(glow_have_cuda AND NOT ARG_HOST_ONLY)
        set(cuda ON)
    endif()
    foreach(source ${ARG_SOURCES})
        if(source MATCHES "\\.cu$" AND NOT cuda)
            # Source properties are per folder, not per target, so host-only versions have their own folder.
            set_source_files_properties(${source} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++")
        endif()
    endforeach()
    add_library(${name} STATIC ${ARG_SOURCES})
    target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
    glow_target_flags(${name})
    if(ARG_DOUBLE)
        target_compile_definitions(${name} PUBLIC GLOW_REAL_DOUBLE)
    endif()
    if(ARG_HOST_ONLY)
        target_compile_definitions(${name} PRIVATE GLOW_HOST_ONLY)
    endif()
    if(cuda)
        target_compile_definitions(${name} PUBLIC GLOW_WITH_CUDA)
        target_link_libraries(${name} PUBLIC CUDA::cudart_static)
        # Kernels must not use stack frames, spilled registers or local memory: with GLOW_WARNINGS_AS_ERRORS,
        # such a kernel fails the build. Checked only for the compiler they were tuned for, because others allocate
        # registers differently.
        if(CMAKE_CUDA_COMPILER_VERSION MATCHES "^13\\.")
            target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Xptxas=-warn-spills,-warn-lmem-usage>)
        endif()
    endif()
    target_link_libraries(${name} PUBLIC ${ARG_LINK} OpenMP::OpenMP_CXX)
    # Kernels include little, and the double-precision libraries have their own definitions.
    if(NOT ARG_SOURCES MATCHES "\\.cu" AND NOT ARG_DOUBLE)
        glow_precompile(${name} REUSE glow_library_headers)
    endif()
endfunction()

function(glow_target_flags name)
    target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${glow_flags}>)
    if(glow_have_cuda)
        set(host ${glow_flags})
        # nvcc's generated host code triggers -Wpedantic warnings; keep -Wall and -Wextra.
        list(JOIN host "," host)
        set(errors "")
        if(GLOW_WARNINGS_AS_ERRORS)
            set(errors "-Werror=all-warnings;")
        endif()
        target_compile_options(${name} PRIVATE
            "$<$<COMPILE_LANGUAGE:CUDA>:${errors}--expt-relaxed-constexpr;-Xcompiler=${host},-fopenmp>")
    endif()
    target_link_options(${name} PRIVATE ${glow_link_flags})
endfunction()

# For programs and tests: their work is done by the libraries, and low optimization takes a third off their compile
# time, half with sanitizers.
function(glow_low_optimization name)
    glow_target_flags(${name})
    if(GLOW_SANITIZE)
        target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-O0>)
    elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
        target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-O1>)
        # At this level g++ 12 reports false overruns inside std::string with precompiled headers. Warnings
        # are still errors in builds without them (with a compiler launcher or sanitizers).
        if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
            target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wno-array-bounds;-Wno-stringop-overflow;-Wno-error>)
        endif()
    endif()
endfunction()

# glow_tool(NAME): tools/NAME.cpp, an executable in build/<preset>/bin.
function(glow_tool name)
    add_executable(${name} ${name}.cpp)
    glow_low_optimization(${name})
    target_link_libraries(${name} PRIVATE glow_toolkit)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
    glow_precompile(${name} REUSE glow_tool_headers)
    set_property(GLOBAL APPEND PROPERTY glow_programs ${name})
    set_property(GLOBAL APPEND PROPERTY glow_tools ${name})
endfunction()

# glow_precompile(NAME HEADERS...) or glow_precompile(NAME REUSE OTHER): precompiles headers that take seconds
# to parse, for all sources of a target or of several targets with the same flags. Sources still include what
# they use: there are no precompiled headers with a compiler launcher, because ccache cannot cache their
# users.
function(glow_precompile name)
    if(CMAKE_CXX_COMPILER_LAUNCHER)
        return()
    endif()
    if(ARGV1 STREQUAL "REUSE")
        target_precompile_headers(${name} REUSE_FROM ${ARGV2})
    else()
        target_precompile_headers(${name} PRIVATE ${ARGN})
    endif()
endfunction()

# glow_unity_build(NAME): compiles the sources of a target in batches, because each that includes CLI11,
# nlohmann-json or fmt spends most of its time in them. As with precompiled headers, not with a compiler launcher:
# there a change should recompile one file. Not for kernels and layers: results must not depend on what is inlined,
# and the double-precision library compiles single files again.
function(glow_unity_build name)
    if(NOT CMAKE_CXX_COMPILER_LAUNCHER)
        set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 10)
    endif()
endfunction()

# glow_executable_headers(NAME HEADERS...): precompiled headers that executables reuse. An object library,
# because users of a target's headers wait until that whole target is built.
function(glow_executable_headers name)
    glow_executable_code(${name})
    glow_precompile(${name} ${ARGN})
endfunction()

# A library of executables alone: compiled like them, so that it can reuse their precompiled headers.
function(glow_executable_code name)
    target_link_libraries(${name} PRIVATE OpenMP::OpenMP_CXX)
    set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${name} PRIVATE -fPIE)
endfunction()
