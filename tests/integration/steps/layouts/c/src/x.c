#include "colours.h"
int colours(void) { return COLOURS; }
