package backup

import "fmt"

// plural counts things: "1 file", "12 files".
func plural[N int | int64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// were is plural with its verb: "1 error was", "2 errors were".
func were[N int | int64](n N, thing string) string {
	if n == 1 {
		return plural(n, thing) + " was"
	}
	return plural(n, thing) + " were"
}
