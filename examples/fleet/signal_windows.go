package main

import "os"

// freeze is not to be had here: chaos kills only.
func freeze(*os.Process) bool { return false }

func thaw(*os.Process) {}
