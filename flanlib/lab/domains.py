"""What the lab's world is about: one entry per domain, from which tables and tools are made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Number:
    """A measured attribute: whole numbers from ``low`` to ``high`` in ``unit``."""

    key: str
    unit: str
    low: int
    high: int
    most: str
    least: str
    additive: bool = True


@dataclass(frozen=True)
class Domain:
    """One kind of thing and what can be asked about it.

    ``names`` is a family of :mod:`flanlib.lab.names`. Every thing belongs to a group (``within`` is
    the preposition), has three numbers, a text out of few, a yes-or-no property told in two ways, a
    person and a neighbour of its own kind. ``convert`` is (unit, other unit, factor, offset) for the
    first number. ``reserve`` is (verb, what, preposition, extra parameter, its words): the extra is a
    count where the words hold ``{}``, else an optional yes-or-no.
    """

    name: str
    noun: str
    plural: str
    names: str
    group: str
    within: str
    numbers: tuple[Number, Number, Number]
    text: tuple[str, tuple[str, ...]]
    flag: tuple[str, str, str]
    person: str
    link: str
    convert: tuple[str, str, float, float]
    reserve: tuple[str, str, str, str, str]


DOMAINS: tuple[Domain, ...] = (
    Domain("weather", "town", "towns", "place", "region", "in",
           (Number("temperature", "degrees", 2, 38, "warmest", "coldest", additive=False),
            Number("rainfall", "millimetres", 3, 90, "wettest", "driest"),
            Number("wind_speed", "knots", 4, 60, "windiest", "calmest", additive=False)),
           ("sky", ("clear", "cloudy", "foggy", "stormy")), ("frost", "has frost", "has no frost"),
           "forecaster", "nearest_town", ("celsius", "fahrenheit", 1.8, 32),
           ("book", "balloon_ride", "over", "riders", "for {} riders")),
    Domain("trains", "station", "stations", "station", "line", "on",
           (Number("distance", "kilometres", 12, 640, "farthest", "closest"),
            Number("fare", "crowns", 3, 95, "dearest", "cheapest"),
            Number("travel_time", "minutes", 10, 400, "slowest", "fastest")),
           ("service", ("express", "local", "night", "regional")), ("lift", "has a lift", "has no lift"),
           "stationmaster", "next_stop", ("kilometres", "miles", 0.6214, 0),
           ("book", "train_seat", "to", "passengers", "for {} passengers")),
    Domain("library", "book", "books", "title", "publisher", "from",
           (Number("weight", "grams", 90, 1400, "heaviest", "lightest"),
            Number("page_count", "pages", 60, 900, "longest", "shortest"),
            Number("loan_fee", "cents", 10, 240, "priciest", "cheapest")),
           ("cover", ("paper", "cloth", "leather")), ("pictures", "has pictures", "has no pictures"),
           "author", "sequel", ("grams", "ounces", 0.03527, 0),
           ("reserve", "book_copy", "of", "large_print", "in large print")),
    Domain("cooking", "dish", "dishes", "dish", "cuisine", "in",
           (Number("volume", "litres", 2, 40, "largest", "smallest"),
            Number("calorie_count", "calories", 80, 950, "richest", "leanest"),
            Number("cooking_time", "minutes", 5, 240, "slowest", "quickest")),
           ("taste", ("sweet", "sour", "salty", "bitter")), ("nuts", "contains nuts", "contains no nuts"),
           "chef", "side_dish", ("litres", "pints", 1.7598, 0),
           ("order", "dish_delivery", "of", "portions", "for {} portions")),
    Domain("geography", "mountain", "mountains", "mountain", "country", "in",
           (Number("height", "metres", 400, 8200, "highest", "lowest", additive=False),
            Number("trail_length", "kilometres", 3, 75, "longest", "shortest"),
            Number("hut_count", "huts", 2, 19, "busiest", "loneliest")),
           ("rock", ("granite", "limestone", "basalt", "slate")), ("glacier", "has a glacier", "has no glacier"),
           "guide", "twin_summit", ("metres", "feet", 3.2808, 0),
           ("book", "mountain_hut", "on", "climbers", "for {} climbers")),
    Domain("pharmacy", "medicine", "medicines", "medicine", "maker", "from",
           (Number("dose", "milligrams", 5, 800, "strongest", "mildest"),
            Number("pack_price", "crowns", 4, 120, "dearest", "cheapest"),
            Number("shelf_life", "months", 6, 60, "stablest", "frailest", additive=False)),
           ("shape", ("tablet", "syrup", "cream", "drops")),
           ("prescription", "needs a prescription", "needs no prescription"),
           "pharmacist", "substitute", ("milligrams", "micrograms", 1000, 0),
           ("order", "medicine_pack", "of", "cooled", "kept cool")),
    Domain("museum", "museum", "museums", "museum", "district", "in",
           (Number("ticket_price", "crowns", 3, 45, "dearest", "cheapest"),
            Number("exhibit_count", "exhibits", 40, 900, "fullest", "emptiest"),
            Number("founding_year", "", 1620, 1990, "youngest", "oldest", additive=False)),
           ("collection", ("paintings", "fossils", "coins", "masks")), ("cafe", "has a cafe", "has no cafe"),
           "curator", "partner_museum", ("crowns", "marks", 2.5, 0),
           ("book", "museum_tour", "of", "visitors", "for {} visitors")),
    Domain("football", "team", "teams", "team", "league", "in",
           (Number("pitch_length", "yards", 98, 130, "roomiest", "tightest", additive=False),
            Number("goal_count", "goals", 8, 96, "sharpest", "weakest"),
            Number("fan_count", "fans", 200, 9000, "loudest", "quietest")),
           ("shirt", ("red", "blue", "green", "white")), ("stadium_roof", "has a stadium roof", "has no stadium roof"),
           "coach", "rival", ("yards", "metres", 0.9144, 0),
           ("buy", "match_ticket", "for", "away_end", "in the away end")),
    Domain("plants", "plant", "plants", "plant", "garden", "in",
           (Number("stem_height", "centimetres", 6, 240, "tallest", "shortest"),
            Number("bloom_time", "days", 3, 80, "slowest", "quickest"),
            Number("water_need", "cups", 2, 30, "thirstiest", "hardiest")),
           ("bloom", ("yellow", "purple", "pink", "orange")), ("poison", "is poisonous", "is not poisonous"),
           "gardener", "companion", ("centimetres", "inches", 0.3937, 0),
           ("order", "seed_bag", "of", "bags", "with {} bags")),
    Domain("astronomy", "star", "stars", "star", "constellation", "in",
           (Number("light_path", "light years", 5, 900, "remotest", "nearest"),
            Number("planet_count", "planets", 2, 21, "richest", "poorest"),
            Number("burning_time", "million years", 30, 9000, "oldest", "youngest", additive=False)),
           ("colour", ("red", "blue", "white", "yellow")), ("dust_ring", "has a dust ring", "has no dust ring"),
           "discoverer", "neighbour_star", ("light_years", "parsecs", 0.3066, 0),
           ("book", "telescope_hour", "for", "camera", "with a camera")),
    Domain("aquarium", "fish", "fishes", "fish", "hall", "in",
           (Number("tank_size", "gallons", 20, 900, "largest", "smallest"),
            Number("feed_amount", "grams", 5, 300, "hungriest", "thriftiest"),
            Number("lifetime", "months", 2, 90, "oldest", "youngest")),
           ("water", ("salt", "fresh", "cold", "warm")), ("sting", "has a sting", "has no sting"),
           "keeper", "tank_mate", ("gallons", "litres", 3.7854, 0),
           ("book", "fish_feeding", "of", "children", "for {} children")),
    Domain("music", "song", "songs", "song", "label", "on",
           (Number("playing_time", "minutes", 2, 48, "longest", "shortest"),
            Number("tempo", "beats", 50, 210, "fastest", "slowest", additive=False),
            Number("sale_count", "copies", 100, 9500, "biggest", "smallest")),
           ("mood", ("happy", "sad", "dreamy", "angry")), ("choir", "has a choir", "has no choir"),
           "composer", "flip_side", ("minutes", "seconds", 60, 0),
           ("request", "song_performance", "of", "encore", "with an encore")),
    Domain("shipping", "ship", "ships", "ship", "harbour", "in",
           (Number("top_speed", "knots", 8, 42, "fastest", "slowest", additive=False),
            Number("cargo", "tons", 50, 8000, "heaviest", "lightest"),
            Number("crew_size", "sailors", 4, 120, "busiest", "leanest")),
           ("hull", ("steel", "wood", "iron", "glass")), ("radar", "has radar", "has no radar"),
           "captain", "sister_ship", ("knots", "kilometres_an_hour", 1.852, 0),
           ("book", "ship_cabin", "on", "travellers", "for {} travellers")),
    Domain("hotels", "hotel", "hotels", "hotel", "city", "in",
           (Number("room_size", "square metres", 9, 80, "roomiest", "smallest", additive=False),
            Number("room_price", "crowns", 30, 480, "dearest", "cheapest"),
            Number("bed_count", "beds", 6, 300, "biggest", "tiniest")),
           ("breakfast", ("cold", "buffet", "simple", "full")), ("pool", "has a pool", "has no pool"),
           "manager", "sister_hotel", ("square_metres", "square_feet", 10.764, 0),
           ("book", "hotel_room", "at", "guests", "for {} guests")),
    Domain("parcels", "parcel", "parcels", "code", "depot", "in",
           (Number("mass", "kilograms", 2, 70, "heaviest", "lightest"),
            Number("postage", "cents", 90, 4200, "priciest", "cheapest"),
            Number("delay", "hours", 2, 72, "latest", "promptest")),
           ("status", ("packed", "moving", "delivered", "returned")), ("insurance", "is insured", "is not insured"),
           "sender", "linked_parcel", ("kilograms", "pounds", 2.2046, 0),
           ("arrange", "parcel_pickup", "of", "signature", "with a signature")),
    Domain("farms", "farm", "farms", "farm", "valley", "in",
           (Number("land", "hectares", 3, 600, "largest", "smallest"),
            Number("cow_count", "cows", 4, 300, "busiest", "calmest"),
            Number("harvest", "sacks", 20, 900, "richest", "poorest")),
           ("crop", ("wheat", "barley", "beans", "apples")), ("shop", "has a shop", "has no shop"),
           "farmer", "nearby_farm", ("hectares", "acres", 2.471, 0),
           ("book", "farm_visit", "to", "pupils", "for {} pupils")),
    Domain("workshop", "machine", "machines", "code", "factory", "in",
           (Number("power", "kilowatts", 2, 220, "strongest", "weakest"),
            Number("noise", "decibels", 30, 110, "loudest", "quietest", additive=False),
            Number("repair_cost", "crowns", 15, 2400, "dearest", "cheapest")),
           ("fuel", ("diesel", "gas", "battery", "steam")), ("alarm", "has an alarm", "has no alarm"),
           "mechanic", "spare_machine", ("kilowatts", "horsepower", 1.341, 0),
           ("schedule", "machine_service", "of", "inspection", "with an inspection")),
    Domain("cinema", "film", "films", "title", "studio", "from",
           (Number("running_time", "hours", 2, 14, "longest", "shortest"),
            Number("budget", "thousand crowns", 20, 900, "costliest", "cheapest"),
            Number("award_count", "awards", 2, 30, "finest", "humblest")),
           ("genre", ("comedy", "drama", "horror", "western")), ("subtitles", "has subtitles", "has no subtitles"),
           "director", "follow_up", ("hours", "half_hours", 2, 0),
           ("book", "film_seat", "for", "viewers", "for {} viewers")),
    Domain("lakes", "lake", "lakes", "lake", "county", "in",
           (Number("depth", "fathoms", 3, 140, "deepest", "shallowest", additive=False),
            Number("shore_length", "furlongs", 8, 420, "vastest", "narrowest"),
            Number("boat_count", "boats", 2, 90, "liveliest", "stillest")),
           ("shore", ("sandy", "rocky", "marshy", "wooded")), ("ferry", "has a ferry", "has no ferry"),
           "ranger", "feeder_lake", ("fathoms", "metres", 1.8288, 0),
           ("rent", "rowing_boat", "on", "rowers", "for {} rowers")),
    Domain("jewels", "gem", "gems", "gem", "vault", "in",
           (Number("carat_weight", "carats", 2, 95, "heaviest", "lightest"),
            Number("asking_price", "florins", 40, 9000, "dearest", "cheapest"),
            Number("facet_count", "facets", 8, 90, "brightest", "dullest")),
           ("cut", ("round", "oval", "square", "pear")), ("flaw", "has a flaw", "has no flaw"),
           "jeweller", "matching_gem", ("carats", "milligrams", 200, 0),
           ("order", "gem_setting", "for", "engraving", "with an engraving")),
    Domain("apps", "app", "apps", "app", "store", "in",
           (Number("download_size", "megabytes", 3, 900, "bulkiest", "slimmest"),
            Number("monthly_fee", "cents", 20, 1900, "priciest", "cheapest"),
            Number("update_count", "updates", 2, 80, "freshest", "stalest")),
           ("platform", ("phone", "desktop", "browser", "watch")), ("dark_mode", "has a dark mode", "has no dark mode"),
           "developer", "sister_app", ("megabytes", "kilobytes", 1000, 0),
           ("order", "app_licence", "for", "users", "for {} users")),
    Domain("flights", "flight", "flights", "code", "airline", "of",
           (Number("air_distance", "nautical miles", 60, 6400, "longest", "shortest"),
            Number("passenger_count", "passengers", 12, 420, "fullest", "emptiest"),
            Number("boarding_time", "minutes", 8, 75, "slowest", "quickest")),
           ("meal", ("hot", "vegetarian", "snack", "fruit")), ("legroom", "has extra legroom", "has no extra legroom"),
           "pilot", "return_flight", ("nautical_miles", "kilometres", 1.852, 0),
           ("reserve", "window_seat", "on", "luggage", "with luggage")),
    Domain("beekeeping", "hive", "hives", "hive", "orchard", "in",
           (Number("full_weight", "stones", 2, 40, "heaviest", "lightest"),
            Number("honey_yield", "jars", 4, 160, "richest", "scantiest"),
            Number("swarm_count", "swarms", 2, 24, "wildest", "tamest")),
           ("blossom", ("clover", "lavender", "linden", "heather")), ("mites", "has mites", "has no mites"),
           "beekeeper", "daughter_hive", ("stones", "kilograms", 6.35, 0),
           ("book", "honey_tasting", "at", "tasters", "for {} tasters")),
    Domain("lighthouses", "lighthouse", "lighthouses", "lighthouse", "coast", "on",
           (Number("beam_range", "leagues", 2, 28, "brightest", "dimmest", additive=False),
            Number("stair_count", "stairs", 30, 420, "steepest", "lowest"),
            Number("flash_gap", "seconds", 3, 60, "steadiest", "busiest", additive=False)),
           ("lantern", ("electric", "oil", "gas", "solar")), ("foghorn", "has a foghorn", "has no foghorn"),
           "lightkeeper", "answering_light", ("leagues", "kilometres", 4.828, 0),
           ("book", "tower_climb", "at", "lantern_room", "with the lantern room")),
)
