// Jobs: a quick one, whose answer is the outcome, and a slow one, which answers later by the links.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// quick adds prices.
func quick(data object) (object, error) {
	prices, _ := data["prices"].([]any)
	if len(prices) == 0 {
		return nil, errors.New("no prices")
	}
	total := 0.0
	for _, price := range prices {
		number, _ := price.(float64)
		total += number
	}
	return object{"job_data": object{"total": total}}, nil
}

// slow works in rounds, asks for more time after each, and says how it ended.
func slow(key string, data object) {
	rounds, isGiven := data["rounds"].(float64)
	pause, _ := data["pause_s"].(float64)
	for range int(rounds) {
		time.Sleep(time.Duration(pause * float64(time.Second)))
		links := newest(key)
		status := post(links["heartbeat"], object{})
		if status == http.StatusConflict && newest(key)["heartbeat"] == links["heartbeat"] {
			end(key, nil) // the step has moved on: it was cancelled, or out of time
			return
		}
	}
	if !isGiven {
		failure := object{"message": "how many rounds?", "retryable": false}
		post(end(key, nil)["fail"], object{"error": failure})
		return
	}
	answer := object{"job_data": object{"rounds": rounds}}
	post(end(key, answer)["complete"], answer)
}

func newest(key string) map[string]string {
	lock.Lock()
	defer lock.Unlock()
	return running[key]
}

// end forgets that a step is worked on, remembers its answer, and returns its newest links.
func end(key string, answer object) map[string]string {
	lock.Lock()
	defer lock.Unlock()
	links := running[key]
	delete(running, key)
	if answer != nil {
		answers[key] = answer
	}
	return links
}

// post posts to a link, for a while if need be, and returns the status of the answer.
func post(link string, body object) int {
	content, _ := json.Marshal(body)
	for pause := 200 * time.Millisecond; pause < time.Minute; pause *= 5 {
		answer, err := http.Post(link, "application/json", bytes.NewReader(content))
		if err == nil && answer.Body.Close() == nil && answer.StatusCode < 500 {
			return answer.StatusCode
		}
		time.Sleep(pause)
	}
	return http.StatusServiceUnavailable
}
