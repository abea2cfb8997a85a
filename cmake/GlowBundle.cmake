# Target bundle: one archive of programs, tests, scripts and all shared libraries they need except glibc and CUDA, which
# runs from any folder of a machine with a GPU (presets gpu, and gpu-mpi with Open MPI inside).
set(GLOW_BUNDLE_DATA "" CACHE FILEPATH "A data set (HDF5) for the bundle's gpu_check.sh to train on")
get_property(programs GLOBAL PROPERTY glow_programs)
set(files "")
foreach(program ${programs})
    list(APPEND files $<TARGET_FILE:${program}>)
endforeach()
add_custom_target(bundle
    COMMAND ${PROJECT_SOURCE_DIR}/cmake/bundle.sh ${PROJECT_SOURCE_DIR} ${CMAKE_BINARY_DIR} "${GLOW_BUNDLE_DATA}" ${files}
    VERBATIM
    COMMENT "Packing the bundle")
add_dependencies(bundle ${programs})
