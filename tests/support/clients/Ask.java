import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;

/** Java's own client as it comes: it offers an upgrade to HTTP/2 with each request, and keeps its connections. */
class Ask {
    static final HttpClient CLIENT = HttpClient.newHttpClient();

    /** Arguments: ingest's URL, query's URL with a range, a body. Prints a line of status and body's length a request. */
    public static void main(String[] arguments) throws Exception {
        String ingest = arguments[0], range = arguments[1], body = arguments[2];
        ask("POST", ingest + "/ingest", BodyPublishers.ofString(body), false);
        ask("POST", ingest + "/ingest", chunked(body), false);
        ask("POST", ingest + "/ingest", BodyPublishers.ofString(body), true);
        ask("POST", ingest + "/ingest", BodyPublishers.ofString("[{}]"), true);
        ask("GET", range, BodyPublishers.noBody(), false);
        ask("HEAD", range, BodyPublishers.noBody(), false);
        ask("POST", ingest + "/ingest", BodyPublishers.ofString(body), false);
    }

    static BodyPublisher chunked(String body) {
        return BodyPublishers.fromPublisher(BodyPublishers.ofString(body));
    }

    static void ask(String method, String url, BodyPublisher body, boolean expect) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url))
            .timeout(Duration.ofSeconds(20))
            .header("Content-Type", "application/json")
            .expectContinue(expect)
            .method(method, body)
            .build();
        var answer = CLIENT.send(request, BodyHandlers.ofString());
        System.out.println(answer.statusCode() + " " + answer.version() + " " + answer.body().length());
    }
}
