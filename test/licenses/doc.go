// Package licenses checks the third-party software in the program: each licence must
// be on the allow-list, and THIRD_PARTY_NOTICES.txt, which the container image
// contains, must have the text of each.
//
// It lists the packages that are linked for Linux, the image's system, and reads
// their licences from the module cache. It needs no network.
package licenses
