// Deliberate bugs, for showing that tests/sim catches them (tests/sim/mutants.txt says what each
// one breaks). Only a build with meson's option `mutants` has them; in every other one each is the
// constant false.
#pragma once
#ifdef PTWOP_MUTANTS
#include <string_view>
namespace ptwop {
inline std::string_view active_mutant;
}
#define PTWOP_MUTANT(name) (::ptwop::active_mutant == #name)
#else
#define PTWOP_MUTANT(name) false
#endif
