#include <stdio.h>
int colours(void);
int main(void) { return printf("colours=%d\n", colours()) < 0; }
