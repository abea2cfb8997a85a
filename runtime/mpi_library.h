// Include instead of <mpi.h>: the MPI library is loaded at the first call. Loading Open MPI 5 with the
// libraries of all network fabrics takes 0.15 s, which a single process should not pay.
//
// A function that is not listed here is an undefined reference when programs are linked: add it.
#pragma once

#include <mpi.h>

#ifdef GLOW_MPI_LIBRARY  // otherwise it is linked

namespace glow {

// The address of a function or variable of MPI's library. Throws InputError if the library cannot be loaded.
void* mpi_symbol(const char* name);

}  // namespace glow

#define GLOW_MPI_FUNCTION(name)                                                                \
    (*[] {                                                                                     \
        static auto* const found = reinterpret_cast<decltype(&name)>(glow::mpi_symbol(#name)); \
        return found;                                                                          \
    }())
#define MPI_Abort GLOW_MPI_FUNCTION(MPI_Abort)
#define MPI_Allgather GLOW_MPI_FUNCTION(MPI_Allgather)
#define MPI_Comm_dup GLOW_MPI_FUNCTION(MPI_Comm_dup)
#define MPI_Comm_free GLOW_MPI_FUNCTION(MPI_Comm_free)
#define MPI_Comm_rank GLOW_MPI_FUNCTION(MPI_Comm_rank)
#define MPI_Comm_set_errhandler GLOW_MPI_FUNCTION(MPI_Comm_set_errhandler)
#define MPI_Comm_size GLOW_MPI_FUNCTION(MPI_Comm_size)
#define MPI_Comm_split_type GLOW_MPI_FUNCTION(MPI_Comm_split_type)
#define MPI_Error_string GLOW_MPI_FUNCTION(MPI_Error_string)
#define MPI_Finalize GLOW_MPI_FUNCTION(MPI_Finalize)
#define MPI_Iallgatherv GLOW_MPI_FUNCTION(MPI_Iallgatherv)
#define MPI_Ialltoallv GLOW_MPI_FUNCTION(MPI_Ialltoallv)
#define MPI_Ibarrier GLOW_MPI_FUNCTION(MPI_Ibarrier)
#define MPI_Ibcast GLOW_MPI_FUNCTION(MPI_Ibcast)
#define MPI_Init_thread GLOW_MPI_FUNCTION(MPI_Init_thread)
#define MPI_Iprobe GLOW_MPI_FUNCTION(MPI_Iprobe)
#define MPI_Isend GLOW_MPI_FUNCTION(MPI_Isend)
#define MPI_Recv GLOW_MPI_FUNCTION(MPI_Recv)
#define MPI_Request_free GLOW_MPI_FUNCTION(MPI_Request_free)
#define MPI_Test GLOW_MPI_FUNCTION(MPI_Test)

// Open MPI's handles, such as MPI_COMM_WORLD, are addresses of variables; those of other MPIs are numbers.
#ifdef OMPI_PREDEFINED_GLOBAL
#undef OMPI_PREDEFINED_GLOBAL
#define OMPI_PREDEFINED_GLOBAL(type, global) static_cast<type>(glow::mpi_symbol(#global))
#endif

#endif
