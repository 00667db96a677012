// svantic.hpp: the same life as in C, with RAII, std::function and exceptions.
#include <condition_variable>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <unistd.h>

#include "svantic.hpp"
#include "svantic.hpp"

namespace {

void require(bool condition, const char *what) {
    if (condition) return;
    std::cerr << what << std::endl;
    _exit(1);
}

template <typename Call>
void throws(svantic_status expected, Call call) {
    try {
        call();
    } catch (const svantic::Error &error) {
        require(error.status() == expected, error.what());
        require(*error.what() != '\0', "an error explains itself");
        const std::string status = "\"status\":" + std::to_string(static_cast<std::int32_t>(expected));
        const auto has = [&](const std::string &part) { return error.json().find(part) != std::string::npos; };
        require(error.json().empty() || has(status + ",") || has(status + "}"), error.json().c_str());
        return;
    }
    require(false, "it does not throw");
}

// A dispatch that is answered on another thread.
struct Later {
    std::mutex mutex;
    std::condition_variable changed;
    std::optional<svantic::Dispatch> dispatch;
};

void live(Later &later, std::thread &answering) {
    int events = 0, connections = 0;  // outlive the connector, whose end still delivers events
    svantic::MeshConnector first(R"({"name":"cpp","description":"svantic.hpp"})");
    svantic::MeshConnector mesh = std::move(first);
    throws(SVANTIC_STATUS_INVALID_STATE, [&] { mesh.create_session(); });
    throws(SVANTIC_STATUS_INVALID_STATE, [&] { mesh.token(); });
    throws(SVANTIC_STATUS_INVALID_ARGUMENT, [&] { mesh.connect(svantic::Timeout(-1)); });

    mesh.on_event([](std::int32_t, std::string_view) { require(false, "this one is replaced"); });
    mesh.on_event([&](std::int32_t event, std::string_view) {
        events++;
        if (event == SVANTIC_EVENT_CONNECTED) connections++;
        throw std::runtime_error("dropped");
    });
    mesh.define_capability(R"({"name":"echo","description":"d"})", [](std::string_view request) {
        require(request.find("\"skill_id\":\"echo\"") != request.npos, "the request names the skill");
        return std::string("\"echoed\"");
    });
    mesh.define_capability(R"({"name":"fail","description":"d"})",
                           [](std::string_view) -> std::string { throw std::runtime_error("as it must"); });
    mesh.define_capability(R"({"name":"fail_in_latin1","description":"d"})",
                           [](std::string_view) -> std::string { throw std::runtime_error("caf\xe9"); });
    mesh.define_capability(R"({"name":"broken","description":"d"})", [](std::string_view) { return std::string("{"); });
    mesh.define_deferred_capability(R"({"name":"later","description":"d"})", [&](svantic::Dispatch dispatch) {
        const std::lock_guard<std::mutex> lock(later.mutex);
        later.dispatch = std::move(dispatch);
        later.changed.notify_all();
    });
    throws(SVANTIC_STATUS_INVALID_ARGUMENT, [&] {
        mesh.define_capability(R"({"name":"echo","description":"d"})", [](std::string_view) { return std::string(); });
    });
    mesh.connect();
    require(mesh.connected() && mesh.state() == SVANTIC_STATE_CONNECTED, "connected");
    require(mesh.svantic_url() == std::getenv("SVANTIC_URL"), "svantic_url");
    require(mesh.instance_id() == std::getenv("SVANTIC_INSTANCE_ID"), "instance_id");
    require(mesh.deployment_mode() == "connected", "deployment_mode");
    require(mesh.agent_card().find("\"echo\"") != std::string::npos, "agent_card");
    require(mesh.snapshot().find("\"connected\"") != std::string::npos, "snapshot");
    const std::string token = mesh.token();
    mesh.refresh_token();
    require(mesh.token() != token, "another token");
    mesh.refresh_token(token);
    require(mesh.token() == token, "the token that was given");
    mesh.re_register();
    mesh.network_changed();
    require(!mesh.cancel(nullptr), "nothing is pending");
    const std::string session = mesh.create_session(R"({"user_id":"u1"})");
    mesh.close_session(session);
    throws(SVANTIC_STATUS_NOT_FOUND, [&] { mesh.close_session("no-such-session"); });

    answering = std::thread([&] {
        std::unique_lock<std::mutex> lock(later.mutex);
        later.changed.wait(lock, [&] { return later.dispatch.has_value(); });
        later.dispatch->resolve("\"answered later\"");
        throws(SVANTIC_STATUS_NOT_FOUND, [&] { later.dispatch->reject("twice"); });
    });
    std::cout << "connected" << std::endl;
    std::string line;
    std::getline(std::cin, line);
    require(line == "leave", "the test says when to leave");
    answering.join();
    mesh.disconnect();
    throws(SVANTIC_STATUS_INVALID_STATE, [&] { mesh.connect(); });
    svantic_free(nullptr);
    require(events > 1 && connections == 1, "events came, whatever their function threw");
}

// What came of one request in parts.
struct Taken {
    std::mutex mutex;
    std::condition_variable changed;
    std::string parts;
};

void serves() {
    svantic::MeshConnector mesh(R"({"name":"desk","description":"d","local":true})");
    Taken taken;
    std::optional<svantic::Dispatch> open;
    mesh.define_capability(R"({"name":"echo","description":"d"})", [](std::string_view) { return "\"echoed\""; });
    mesh.define_deferred_capability(R"({"name":"open","description":"d"})", [&](svantic::Dispatch dispatch) {
        const std::lock_guard<std::mutex> lock(taken.mutex);
        open = std::move(dispatch);
        taken.changed.notify_all();
    });
    const std::string post = R"({"method":"POST","path":"/send","headers":{"content-type":"application/json"}})";
    const auto call = [](const std::string &skill) {
        return R"({"jsonrpc":"2.0","id":1,"method":"message/send","params":{"message":{"messageId":")" + skill +
               R"(","parts":[{"kind":"data","data":{"skill_id":")" + skill + R"("}}]}}})";
    };
    require(mesh.serve(R"({"method":"GET","path":"/.well-known/agent-card.json"})").find("echo") != std::string::npos,
            "the card");
    require(mesh.serve(post, call("echo")).find("echoed") != std::string::npos, "a whole response");
    throws(SVANTIC_STATUS_INVALID_JSON, [&] { mesh.serve("{"); });
    const auto counted = std::make_shared<int>(0);
    const auto take = [&taken, counted](std::string_view part) {
        const std::lock_guard<std::mutex> lock(taken.mutex);
        taken.parts += part;
        taken.changed.notify_all();
        throw 7;
    };
    throws(SVANTIC_STATUS_INVALID_JSON, [&] { mesh.serve_async("{", {}, take); });
    void *request = mesh.serve_async(post, call("open"), take);
    std::unique_lock<std::mutex> lock(taken.mutex);
    taken.changed.wait(lock, [&] { return open.has_value(); });
    require(mesh.cancel(request), "the client has gone");
    taken.changed.wait(lock, [&] { return !taken.parts.empty(); });
    require(taken.parts == R"({"cancelled":true,"more":false})", "the last part");
    taken.parts.clear();
    mesh.serve_async(post, call("open"), take);
    open->resolve("\"once\"");
    taken.changed.wait(lock, [&] { return taken.parts.find("once") != std::string::npos; });
    lock.unlock();
    mesh.disconnect();
    while (counted.use_count() > 2) std::this_thread::yield();  // ours and that of `take`: the requests' are released
}

}  // namespace

int main() {
    alarm(60);
    Later later;
    std::thread answering;
    throws(SVANTIC_STATUS_INVALID_JSON, [] { svantic::MeshConnector mesh("{"); });
    const std::string options = R"({"instance_id":"i1","shared_secret":"hush"})";
    const std::string shared = R"({"svantic_auth":{"scheme":"shared_secret","token":"hush"}})";
    require(svantic::verify_dispatch_auth(shared, options).find("\"i1\"") != std::string::npos, "the context");
    throws(SVANTIC_STATUS_AUTH, [&] { svantic::verify_dispatch_auth("{}", options); });
    throws(SVANTIC_STATUS_AUTH, [&] { svantic::verify_dispatch_auth(shared + '\0', options); });
    throws(SVANTIC_STATUS_INVALID_ARGUMENT, [&] { svantic::verify_dispatch_auth(shared, "{}"); });
    require(svantic::parse_traceparent("x") == "null", "no traceparent");
    require(svantic::parse_baggage("a=b") == R"({"a":"b"})", "baggage");
    serves();
    live(later, answering);
    throws(SVANTIC_STATUS_INVALID_HANDLE, [&] { later.dispatch->resolve("1"); });
    return svantic_shutdown(5000);
}
