// Says for each file whether it is strict DAG-CBOR: for holding ours against another decoder.
#include <cstdio>
#include <fstream>
#include <iterator>

#include "ipld/dag_cbor.h"

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::ifstream in(argv[i], std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(in), {});
    std::puts(ptwop::ipld::check_dag_cbor(bytes) ? "strict" : "refused");
  }
}
