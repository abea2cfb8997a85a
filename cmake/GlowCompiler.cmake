# Compiler flags. Warnings are errors only with GLOW_WARNINGS_AS_ERRORS (tools/test.sh, presets debug and asan),
# because a user's compiler may have warnings that the developers' compilers do not.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

# -fno-math-errno and -fno-trapping-math allow vectorization without changing results (NaN and inf are
# preserved).
set(glow_flags -Wall -Wextra -fno-math-errno -fno-trapping-math)
if(GLOW_WARNINGS_AS_ERRORS)
    list(APPEND glow_flags -Werror)
endif()
if(GLOW_SANITIZE)
    list(APPEND glow_flags -O1 -g1)  # quick to compile, and reports still name lines
elseif(CMAKE_BUILD_TYPE STREQUAL "Release" OR CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
    list(APPEND glow_flags -O3)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND glow_flags -Wno-psabi)
elseif(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    # The simd pragmas are optional: clang warns if its cost model declines one.
    list(APPEND glow_flags -Wno-pass-failed -ffp-contract=fast)
endif()
if(GLOW_NATIVE)
    list(APPEND glow_flags -march=native)
else()
    list(APPEND glow_flags -march=x86-64-v3)
endif()
set(glow_link_flags "")
if(GLOW_SANITIZE)
    list(APPEND glow_flags -fsanitize=${GLOW_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    list(APPEND glow_link_flags -fsanitize=${GLOW_SANITIZE})
endif()
include(CheckCXXCompilerFlag)
if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(REMOVE_ITEM glow_flags -march=x86-64-v3)
endif()

find_package(OpenMP REQUIRED COMPONENTS CXX)
