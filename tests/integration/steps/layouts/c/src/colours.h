#define COLOURS 2
