/* A library that lies in the mount: restored, it must still be mapped. */
const char *holder_greeting(void) { return "the library is there"; }
