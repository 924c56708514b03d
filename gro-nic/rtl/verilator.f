// Flags for every core.
--cc --exe --build -O3
--top-module referee --prefix Vreferee
-DSYNTHESIS
--noassert
--x-assign fast --x-initial fast
// The published sources are not ours to lint.
-Wno-lint -Wno-style -Wno-UNOPTFLAT -Wno-SPLITVAR
-CFLAGS "-std=c++17"
-MAKEFLAGS "-s OPT_FAST=-O3"
