// Package loyaltyapi is the contract of loyalty: the events that it publishes.
package loyaltyapi
