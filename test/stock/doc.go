// Package stock holds, for each part of Watermill that this program does not
// use, the test that shows why: it runs the stock part and asserts that it still
// fails what is promised here. The day one of these tests is red, an upstream
// release has mended the part, and our own code for it may go.
package stock
