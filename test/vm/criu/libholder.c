/* A library in the mount, which must still be mapped after a restore. */
const char *holder_greeting(void) { return "the library is there"; }
