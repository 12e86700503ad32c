package fsnode

// Peek looks whether the folder at root is there and can be read, without reading what is in it, and counts its entries.
// The error says what to do.
func Peek(root string) (entries int, err error) {
	top, err := openTop(root)
	if err != nil {
		return 0, err
	}
	defer top.Close()
	_, names, err := look(top)
	if err != nil {
		return 0, readable(err, root, "")
	}
	return len(names), nil
}
