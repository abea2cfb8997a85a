# glow_library(NAME sources... [LINK libraries...]): a static library of one folder. Its .cu files go to nvcc when CUDA is
# there and to the C++ compiler when not, or always with HOST_ONLY (the double-precision twins for gradient checks).
function(glow_library name)
    cmake_parse_arguments(ARG "HOST_ONLY;DOUBLE" "" "SOURCES;LINK" ${ARGN})
    set(cuda OFF)
    if(glow_have_cuda AND NOT ARG_HOST_ONLY)
        set(cuda ON)
    endif()
    foreach(source ${ARG_SOURCES})
        if(source MATCHES "\\.cu$" AND NOT cuda)
            # Source properties belong to a folder, not to a target: host-only twins live in a folder of their own.
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
        # What ptxas says of every kernel stays beside its object file, for a test to read.
        target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Xptxas=-v>)
        set_target_properties(${name} PROPERTIES CUDA_COMPILER_LAUNCHER
            "${PROJECT_SOURCE_DIR}/cmake/ptxas_log.sh;${CMAKE_CUDA_COMPILER_LAUNCHER}")
    endif()
    target_link_libraries(${name} PUBLIC ${ARG_LINK} OpenMP::OpenMP_CXX)
endfunction()

function(glow_target_flags name)
    target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${glow_flags}>)
    if(glow_have_cuda)
        set(host ${glow_flags})
        # nvcc's generated host code uses line directives and names that -Wpedantic-like warnings dislike; -Wall
        # and -Wextra stay.
        list(JOIN host "," host)
        target_compile_options(${name} PRIVATE
            "$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;--expt-relaxed-constexpr;-Xcompiler=${host},-fopenmp>")
    endif()
    target_link_options(${name} PRIVATE ${glow_link_flags})
endfunction()

# glow_tool(NAME): tools/NAME.cpp, an executable in build/<preset>/bin.
function(glow_tool name)
    add_executable(${name} ${name}.cpp)
    glow_target_flags(${name})
    target_link_libraries(${name} PRIVATE glow_toolkit)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
    set_property(GLOBAL APPEND PROPERTY glow_programs ${name})
    set_property(GLOBAL APPEND PROPERTY glow_tools ${name})
endfunction()
