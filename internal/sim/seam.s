// This file is empty. It lets seam.go declare a function without a body.
