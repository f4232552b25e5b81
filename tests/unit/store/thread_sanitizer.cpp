// What the thread sanitizer (scripts/test --sanitize) is to know of RocksDB, whose library is not
// built with it: it does not see how that library's threads wait for each other. Nothing of ours is
// excepted where RocksDB is not on the stack.
extern "C" {

const char* __tsan_default_suppressions();
const char* __tsan_default_suppressions() {
  return "called_from_lib:librocksdb.so\n"
         "race:librocksdb.so\n";
}

/// Long histories: of an access whose stack is forgotten nobody can say that it was RocksDB's.
const char* __tsan_default_options();
const char* __tsan_default_options() { return "history_size=7"; }

}  // extern "C"
